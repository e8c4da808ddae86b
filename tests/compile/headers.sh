#!/bin/sh
# Every public header compiles alone and first, twice in a row, as C17 and as C++17, without a
# warning, by the compiler of this build and by gcc and clang where they are there.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strict="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wundef -Werror"
failed=0

check() { # compiler language standard header extra-flags
    printf '#include <thrum/%s>\n#include <thrum/%s>\nint thrum_header_alone(void);\n' "$4" "$4" \
        >"$work/alone"
    # shellcheck disable=SC2086
    if ! "$1" -x "$2" "-std=$3" $strict $5 -I "$root/include" -fsyntax-only "$work/alone"; then
        printf 'FAILED: <thrum/%s> as %s by %s\n' "$4" "$3" "$1"
        failed=1
    fi
}

# Those of these names that are there, each program once.
compilers() {
    for name in "$@"; do
        if command -v "$name" >/dev/null; then
            readlink -f "$(command -v "$name")"
        fi
    done | sort -u
}

c_compilers=$(compilers "${CC:-cc}" gcc clang)
cxx_compilers=$(compilers "${CXX:-c++}" g++ clang++)
for header in "$root"/include/thrum/*.h; do
    header=${header##*/}
    for compiler in $c_compilers; do
        check "$compiler" c c17 "$header" "-Wstrict-prototypes -Wmissing-prototypes"
    done
    for compiler in $cxx_compilers; do
        check "$compiler" c++ c++17 "$header" "-Wold-style-cast"
    done
done
exit $failed
