#!/bin/sh
# usage: tidy.sh [--quick] BUILD [FILE...] - clang-tidy over the library's sources (or these) as compiled in
# BUILD. --quick: without the static analyzer, which takes most of the time.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
checks=
if [ "$1" = --quick ]; then
    checks=-clang-analyzer-*
    shift
fi
build=$1
shift
cd "$root"
# shellcheck disable=SC2016
{
    if [ $# -gt 0 ]; then
        printf '%s\n' "$@"
    else
        # What this build compiles: of two that stand for one another, only one.
        sed -n 's|^ *"file": "\(.*/lib/[a-z]*/[a-z_]*\.c\)",*$|\1|p' \
            "$build/compile_commands.json" | sort -u
    fi
} | xargs -n 1 -P "$(getconf _NPROCESSORS_ONLN)" sh -c '
    # Even --quiet it counts the warnings that it leaves out.
    if ! said=$("$1" -p "$2" --quiet "--checks=$3" "--warnings-as-errors=*" "$4" 2>&1); then
        printf "%s\n" "$said"
        exit 1
    fi' tidy "${CLANG_TIDY:-clang-tidy}" "$build" "$checks"
