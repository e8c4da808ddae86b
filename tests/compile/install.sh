#!/bin/sh
# usage: install.sh BUILD WORK
# Installs to a staging folder, moves it (an installed tree may be moved), and from there builds and
# runs a client as C17 and as C++17, shared and static, by pkg-config and by CMake, with jemalloc and
# without; and with the patch.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=$1
work=$2
cmake=${CMAKE:-cmake}
cc=${CC:-cc}
cxx=${CXX:-c++}
strict="-Wall -Wextra -Wpedantic -Werror"

rm -rf "$work"
mkdir -p "$work"
"$cmake" --install "$build" --prefix "$work/first" >"$work/install.log"
mv "$work/first" "$work/stage"
stage=$work/stage

pc=$(find "$stage" -name thrum.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH")
export PKG_CONFIG_PATH LD_LIBRARY_PATH

try() { # name, then the command that builds $work/<name>
    name=$1
    shift
    if ! "$@" -o "$work/$name" || ! "$work/$name" "$expect"; then
        printf 'FAILED: %s\n' "$name"
        exit 1
    fi
    printf 'ok: %s\n' "$name"
}

by_pkg_config() { # module
    flags=$(pkg-config --cflags --libs "$1")
    all=$(pkg-config --static --cflags --libs "$1")
    # shellcheck disable=SC2086
    {
        try "$1-c-shared" "$cc" -std=c17 $strict "$here/client/client.c" $flags
        try "$1-c++-shared" "$cxx" -std=c++17 $strict -x c++ "$here/client/client.c" -x none $flags
        if [ $libc_archive = yes ]; then
            try "$1-c-static" "$cc" -std=c17 $strict -static "$here/client/client.c" $all
            try "$1-c++-static" "$cxx" -std=c++17 $strict -static -x c++ "$here/client/client.c" \
                -x none $all
        fi
    }
}

# Not every system has archives of its C library.
printf 'int main(void) { return 0; }\n' >"$work/empty.c"
libc_archive=no
if "$cc" -static "$work/empty.c" -o "$work/empty" 2>"$work/empty.log"; then
    libc_archive=yes
fi

expect=none
by_pkg_config thrum
jemalloc=no
if pkg-config --exists thrum-jemalloc; then
    jemalloc=yes
    expect=jemalloc
    by_pkg_config thrum-jemalloc
fi

# A program whose sleeps are the patch's, if that was built.
if pkg-config --exists thrum-patch; then
    sleepers=$here/../patch/preload_patch.c
    flags=$(pkg-config --cflags --libs thrum-patch)
    # shellcheck disable=SC2086
    "$cc" -std=gnu17 $strict -Wl,--as-needed "$sleepers" $flags -o "$work/patched"
    "$work/patched" | grep -q '^20 of 20 ' || {
        printf 'FAILED: thrum-patch by pkg-config\n'
        exit 1
    }
    printf 'ok: thrum-patch by pkg-config\n'
fi

"$cmake" -S "$here/client" -B "$work/client" -DCMAKE_PREFIX_PATH="$stage" \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" -DEXPECT_JEMALLOC=$jemalloc \
    >"$work/client.log" || {
    cat "$work/client.log"
    exit 1
}
"$cmake" --build "$work/client" >>"$work/client.log" 2>&1 || {
    cat "$work/client.log"
    exit 1
}
if [ -x "$work/client/patched" ]; then
    "$work/client/patched" | grep -q '^20 of 20 ' || {
        printf 'FAILED: thrum::patch by CMake\n'
        exit 1
    }
    printf 'ok: thrum::patch by CMake\n'
fi
for program in "$work"/client/client_*; do
    case $program in
    *_jemalloc) expect=jemalloc ;;
    *) expect=none ;;
    esac
    "$program" $expect || {
        printf 'FAILED: %s by CMake\n' "${program##*/}"
        exit 1
    }
    printf 'ok: %s by CMake\n' "${program##*/}"
done
