#!/bin/sh
# usage: foreign.sh aarch64|musl|ucontext WORK
# Builds the library for another processor, for another C library, or with the other way to switch stacks,
# and runs foreign.c there. Skipped (77) where the compiler or the emulator is not installed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
what=$1
work=$2
cmake=${CMAKE:-cmake}
mkdir -p "$work"

need() {
    command -v "$1" >/dev/null || {
        printf 'skipped: no %s\n' "$1"
        exit 77
    }
}

cc=${CC:-cc}
flags=
run=
set --
case $what in
aarch64)
    cc=aarch64-linux-gnu-gcc
    run=qemu-aarch64
    need "$run"
    set -- -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64
    ;;
musl)
    cc=musl-gcc
    need "$cc"
    # It looks for headers in its own folder only, where the kernel's are missing.
    for name in linux asm asm-generic; do
        folder=$(printf '#include <%s>\n' linux/futex.h | cc -E -M -x c - |
            tr ' ' '\n' | sed -n "s,\(.*/$name\)/.*,\1,p" | head -n 1)
        ln -sfn "${folder:-/usr/include/$name}" "$work/$name"
    done
    flags="-idirafter $work"
    ;;
ucontext) set -- -DTHRUM_CONTEXT=ucontext ;;
esac
need "$cc"

quietly() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log"
        exit 1
    }
}

quietly "$cmake" -S "$root" -B "$work/build" -DCMAKE_C_COMPILER="$cc" -DCMAKE_C_FLAGS="$flags" \
    -DCMAKE_BUILD_TYPE=Release -DTHRUM_BUILD_TESTS=OFF -DTHRUM_WERROR=ON "$@"
quietly "$cmake" --build "$work/build" --target thrum_static --parallel 2
# shellcheck disable=SC2086
"$cc" -std=c17 -O2 -frounding-math -Wall -Wextra -Wpedantic -Werror -D_POSIX_C_SOURCE=200809L \
    -I "$root/include" -static "$here/foreign.c" "$work/build/libthrum.a" -pthread -lm \
    -o "$work/foreign"
$run "$work/foreign"
