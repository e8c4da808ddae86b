#!/bin/sh
# usage: format.sh [--update] [FILE...] - are all sources (or these) as .clang-format says? Shows what
# would change, or, with --update, changes it.
set -eu

cd "$(dirname "$0")/../.."
CLANG_FORMAT=${CLANG_FORMAT:-clang-format}
export CLANG_FORMAT

sources() {
    if [ $# -gt 0 ]; then
        printf '%s\0' "$@"
    else
        find include lib tests bench docs \
            \( -name '*.c' -o -name '*.h' -o -name '*.cc' \) -print0 | LC_ALL=C sort -z
    fi
}

if [ "${1-}" = --update ]; then
    shift
    sources "$@" | xargs -0 "$CLANG_FORMAT" -i
    exit
fi

if sources "$@" | xargs -0 "$CLANG_FORMAT" --dry-run --Werror 2>/dev/null; then
    exit
fi
# shellcheck disable=SC2016
sources "$@" | xargs -0 sh -c '
    status=0
    for file in "$@"; do
        "$CLANG_FORMAT" "$file" | diff -u --label "$file" --label "$file, formatted" "$file" - ||
            status=1
    done
    exit $status' format
