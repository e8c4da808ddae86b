#!/bin/sh
# usage: packages.sh BUILD WORK
# Makes Debian packages of a build, unpacks them into a folder, and there builds and runs the first program of
# README.md, by the command that stands below it and by CMake; it prints what README.md says.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
work=$2
cmake=${CMAKE:-cmake}
cc=${CC:-cc}
for program in dpkg-deb dpkg-shlibdeps file; do
    command -v $program >/dev/null || {
        printf 'skipped: there is no %s\n' $program
        exit 77
    }
done

fail() {
    printf 'FAILED: %s\n' "$*"
    exit 1
}

quietly() { # log, then a command whose output matters only if it fails
    log=$work/$1.log
    shift
    "$@" >"$log" 2>&1 || {
        cat "$log"
        fail "$*"
    }
}

rm -rf "$work"
mkdir -p "$work/system"
# Fast rather than small.
(cd "$build" && quietly cpack "${CPACK:-cpack}" -G DEB -B "$work/made" -D CPACK_DEBIAN_COMPRESSION_TYPE=gzip)

# --- what is in them -------------------------------------------------------------------------------

package() { # name: its file
    set -- "$work"/made/"$1"_*.deb
    if [ $# -ne 1 ] || [ ! -f "$1" ]; then
        fail "not one package: $*"
    fi
    printf '%s\n' "$1"
}

has() { # package pattern...: files or links in it
    list=$work/$1.list
    name=$1
    shift
    for pattern in "$@"; do
        grep -Eq " \./usr/$pattern( -> .*)?\$" "$list" || fail "$name has no $pattern"
    done
}

for name in libthrum0 libthrum-dev libthrum-doc; do
    deb=$(package $name)
    dpkg-deb -I "$deb" >"$work/$name.info"
    dpkg-deb -e "$deb" "$work/$name.control"
    dpkg-deb -c "$deb" >"$work/$name.list"
    dpkg-deb -x "$deb" "$work/system"
    has $name "share/doc/$name/copyright" "share/doc/$name/changelog\.gz"
done
grep -q '^ Depends: .*libc6 (>= ' "$work/libthrum0.info" || fail "libthrum0 does not say which libc6 it needs"
grep -q '^ Depends: libthrum0 (= .*), libc6-dev' "$work/libthrum-dev.info" || fail "libthrum-dev goes with any library"
for library in libthrum libthrum-patch; do
    [ ! -e "$work/system/usr/lib/$library.so.0" ] ||
        grep -q "^$library 0 libthrum0 (>= " "$work/libthrum0.control/shlibs" || fail "no shlibs of $library"
done
grep -q ldconfig "$work/libthrum0.control/postinst" || fail "libthrum0 does not tell ldconfig"
grep -q '^ Architecture: all' "$work/libthrum-doc.info" || fail "libthrum-doc is for one processor only"
has libthrum0 'lib/(.*/)?libthrum\.so\.0' 'lib/(.*/)?libthrum\.so\.0\.[0-9.]*'
has libthrum-dev 'lib/(.*/)?libthrum\.so' 'lib/(.*/)?libthrum\.a' 'include/thrum/thrum\.h' \
    'lib/(.*/)?pkgconfig/thrum\.pc' 'lib/(.*/)?cmake/thrum/thrumConfig\.cmake' \
    'share/gdb/auto-load/usr/lib/.*-gdb\.py'
has libthrum-doc 'share/doc/thrum/docs/guide/README\.md' 'share/doc/thrum/docs/examples/hello\.c'
if grep -E 'include/|\.so |\.a$' "$work/libthrum0.list" | grep -v ' -> '; then
    fail "libthrum0 has what is for libthrum-dev"
fi
if [ -d "$build/reference/man3" ]; then
    has libthrum-doc 'share/doc/thrum/reference/index\.html' 'share/man/man3/thrum_mutex\.h\.3\.gz' \
        'share/man/man3/thrum_mutex_lock\.3\.gz'
    if grep '\.3$' "$work/libthrum-doc.list"; then
        fail "man pages are not compressed"
    fi
else
    printf 'no reference in libthrum-doc: there is no Doxygen\n'
fi
# What came from where it was built says so nowhere.
if grep -rlF "$build" "$work/system/usr/lib" "$work/system/usr/include" "$work/system/usr/share/gdb" |
    grep -Ev '\.(a|so[.0-9]*)$'; then
    fail "files that name the folder of the build"
fi

# --- the first program of README.md ----------------------------------------------------------------

block() { # which block of README.md
    awk -v wanted="$1" '/^```/ { if (inside) inside = 0; else { inside = 1; n++ } next }
        inside && n == wanted' "$root/README.md"
}

mkdir "$work/hello"
cd "$work/hello"
block 1 >hello.c
# shellcheck disable=SC2016
block 2 | sed -n 's/^\$ cc \(.*\) && \.\/hello$/"$cc" \1/p' >command.sh
block 2 | sed '/^\$/d' >expected
if [ ! -s command.sh ] || [ ! -s expected ]; then
    fail "README.md has no command and output behind its first program"
fi

pc=$(find "$work/system" -name thrum.pc)
LD_LIBRARY_PATH=$(dirname "$(dirname "$pc")")
PKG_CONFIG_SYSROOT_DIR=$work/system
PKG_CONFIG_LIBDIR=$(dirname "$pc")
export LD_LIBRARY_PATH PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_LIBDIR

ran() { # how, program
    "$2" >printed || fail "the first program of README.md, built by $1, returns $?"
    diff -u expected printed || fail "the first program of README.md, built by $1, prints something else"
    printf 'ok: %s\n' "$1"
}

# shellcheck disable=SC1091
. ./command.sh
ran 'pkg-config' ./hello

unset PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_LIBDIR
cat >CMakeLists.txt <<'TEXT'
cmake_minimum_required(VERSION 3.25)
project(hello LANGUAGES C)
find_package(thrum 0.1 REQUIRED)
foreach(kind thrum static)
    add_executable(hello_${kind} hello.c)
    target_link_libraries(hello_${kind} PRIVATE thrum::${kind})
endforeach()
TEXT
quietly configure "$cmake" -S . -B build -DCMAKE_PREFIX_PATH="$work/system/usr" -DCMAKE_C_COMPILER="$cc"
quietly make "$cmake" --build build
ran 'CMake' build/hello_thrum
ran 'CMake, static' build/hello_static
