#!/bin/sh
# usage: exports.sh [--update] LIBTHRUM_SO
# The library exports exactly the symbols of exports.txt, all of them thrum_; it needs the C library
# and nothing else; and it refers to jemalloc weakly. --update writes exports.txt.
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

# The version nodes themselves are absolute symbols (A).
"$nm" -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
    LC_ALL=C sort -u >"$work/exports"
if [ $update = yes ]; then
    cp "$work/exports" "$here/exports.txt"
    printf '%s symbols written to exports.txt\n' "$(wc -l <"$work/exports")"
fi
diff -u "$here/exports.txt" "$work/exports" || fail "exports differ from tests/compile/exports.txt"
if grep -v '^thrum_' "$work/exports"; then
    fail "exported, but not thrum_"
fi

# They are what the public headers declare, no more and no less.
sed -n 's/^THRUM_API.*[ *]\(thrum_[a-z0-9_]*\)(.*/\1/p' "$here"/../../include/thrum/*.h |
    LC_ALL=C sort -u >"$work/declared"
diff -u "$work/declared" "$work/exports" || fail "exports differ from what the headers declare"

"$readelf" -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' >"$work/needed"
if grep -Ev '^(libc\.|libpthread\.|ld-|ld\.)' "$work/needed"; then
    fail "needs more than the C library"
fi
"$readelf" -d "$library" | grep -q 'SONAME.*\[libthrum\.so\.[0-9]*\]' || fail "no SONAME"
"$readelf" -d "$library" | grep -q 'FLAGS_1.*NODELETE' || fail "may be unloaded under its threads"

if "$nm" -D --undefined-only "$library" | grep -E ' [^w] (mallocx|rallocx|s?dallocx|mallctl)'; then
    fail "jemalloc is not referred to weakly"
fi
exit $failed
