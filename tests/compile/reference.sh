#!/bin/sh
# usage: reference.sh DOXYFILE WORK
# Doxygen reads the headers without a warning: everything public is documented, and what the comments refer to is
# there. The man pages have names of thrum's only, and each refers to one that is there.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
doxyfile=$1
work=$2
if [ ! -f "$doxyfile" ] || ! command -v "${DOXYGEN:-doxygen}" >/dev/null; then
    printf 'skipped: there is no Doxygen\n'
    exit 77
fi

rm -rf "$work"
mkdir -p "$work"
{
    cat "$doxyfile"
    printf 'OUTPUT_DIRECTORY = "%s"\nGENERATE_HTML = NO\nWARN_AS_ERROR = FAIL_ON_WARNINGS\n' "$work"
} >"$work/Doxyfile"
"${DOXYGEN:-doxygen}" "$work/Doxyfile" || {
    printf 'FAILED: Doxygen warns\n'
    exit 1
}

"${CMAKE:-cmake}" "-DFROM=$work/man" "-DTO=$work/man3" -P "$root/docs/reference/man.cmake"
failed=0
for header in "$root"/include/thrum/*.h; do
    name=${header##*/}
    [ -s "$work/man3/thrum_$name.3" ] || {
        printf 'FAILED: no thrum_%s(3)\n' "$name"
        failed=1
    }
done
while read -r symbol; do
    [ -s "$work/man3/$symbol.3" ] || {
        printf 'FAILED: no %s(3)\n' "$symbol"
        failed=1
    }
done <"$root/tests/compile/exports.txt"
for page in "$work"/man3/*; do
    name=${page##*/}
    case $name in
    thrum_* | THRUM_*) ;;
    *)
        printf 'FAILED: %s is not a name of thrum\n' "$name"
        failed=1
        ;;
    esac
done
sed -n 's/^\.so //p' "$work"/man3/* | sort -u >"$work/targets"
while read -r target; do
    [ -s "$work/$target" ] || {
        printf 'FAILED: pages refer to %s, which is not there\n' "$target"
        failed=1
    }
done <"$work/targets"
exit $failed
