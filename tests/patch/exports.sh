#!/bin/sh
# usage: exports.sh [--update] LIBTHRUM_PATCH
# The patch exports exactly the functions of exports.txt, without versions; it needs libthrum and the C library, and
# cannot be unloaded. --update writes exports.txt.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
nm=${NM:-nm}
readelf=${READELF:-readelf}
update=no
if [ "$1" = --update ]; then
    update=yes
    shift
fi
library=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

fail() {
    printf 'FAILED: %s\n' "$*"
    failed=1
}

"$nm" -D --defined-only "$library" | awk '{ print $3 }' | LC_ALL=C sort -u >"$work/exports"
if [ $update = yes ]; then
    cp "$work/exports" "$here/exports.txt"
fi
diff -u "$here/exports.txt" "$work/exports" || fail "exports differ from tests/patch/exports.txt"
if grep '@' "$work/exports"; then
    fail "a versioned symbol would be passed by"
fi

# What the linker lets out is what the list of functions in patch.h has.
sed -n 's/^    X([a-z_ ]*, \([a-z0-9_]*\),.*/\1/p' "$here/../../lib/patch/patch.h" |
    LC_ALL=C sort -u >"$work/listed"
diff -u "$work/listed" "$work/exports" || fail "exports differ from the list in lib/patch/patch.h"

"$readelf" -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' >"$work/needed"
if grep -Ev '^(libthrum\.so|libc\.|libdl\.|libpthread\.|ld-|ld\.)' "$work/needed"; then
    fail "needs more than libthrum and the C library"
fi
"$readelf" -d "$library" | grep -q 'SONAME.*\[libthrum-patch\.so\.[0-9]*\]' || fail "no SONAME"
"$readelf" -d "$library" | grep -q 'FLAGS_1.*NODELETE' || fail "may be unloaded"
exit $failed
