#!/bin/sh
# usage: optimised.sh COMPILER WORK
# Coroutines work however the library is compiled: all its sources and tests/tools/coroutines.c, by this
# compiler, not optimised, as far as it goes, and as a whole at link time.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
cc=$1
work=$2

if ! command -v "$cc" >/dev/null; then
    printf 'skipped: no %s\n' "$cc"
    exit 77
fi

if [ "$(uname -s)" = Linux ]; then
    other=futex_posix.c
else
    other=futex_linux.c
fi
mkdir -p "${work%/*}"
find "$root"/lib/*/*.c "$root"/lib/coroutine/*.S "$here/coroutines.c" \
    ! -name "$other" ! -path "*/lib/patch/*" >"$work.sources"
jobs=$(getconf _NPROCESSORS_ONLN)

build() { # options
    rm -rf "$work"
    mkdir -p "$work"
    # shellcheck disable=SC2016,SC2086
    xargs -n 1 -P "$jobs" sh -c '
        cc=$1 root=$2 work=$3 options=$4 source=$5
        layer=${source%/*}
        object=$work/${layer##*/}_${source##*/}.o
        exec "$cc" -std=c17 -D_GNU_SOURCE -I"$root/include" -I"$root/lib" $options \
            -c "$source" -o "$object"
        ' build "$cc" "$root" "$work" "$*" <"$work.sources" &&
        "$cc" "$@" "$work"/*.o -pthread -o "$work/coroutines"
}

printf 'int main(void) { return 0; }\n' >"$work.c"
for options in -O0 -O1 "-O3 -flto"; do # -O2 is what all builds have
    # shellcheck disable=SC2086
    if ! "$cc" $options "$work.c" -o "$work.empty" 2>"$work.log"; then
        printf 'left out: %s: %s\n' "$options" "$(head -n 1 "$work.log")"
        continue
    fi
    # shellcheck disable=SC2086
    if ! build $options || ! "$work/coroutines"; then
        printf 'FAILED: %s %s\n' "$cc" "$options"
        exit 1
    fi
    printf 'ok: %s %s\n' "$cc" "$options"
done
