#!/bin/sh
# usage: preload.sh LIBTHRUM_PATCH PROGRAM - preloaded, the patch makes the program's sleeps cooperative; in
# programs that know nothing of thrum it changes nothing.
set -eu

patch=$1
program=$2
failed=0

check() { # what, expected, printed
    if [ "$2" != "$3" ]; then
        printf 'FAILED: %s: expected "%s", printed "%s"\n' "$1" "$2" "$3"
        failed=1
    fi
}

check "without the patch" "1 of 20 at the same time" "$("$program")"
check "preloaded" "20 of 20 at the same time" "$(LD_PRELOAD=$patch "$program")"

# Pipes, files, children, signals.
# shellcheck disable=SC2016
script='{ printf "a\nb\n"; sleep 0; cat "$0"; } | sort | tr a-z A-Z | cksum; yes | head -n 1; exit 3'
status=0
plain=$(sh -c "$script" "$0") || status=$?
check "a shell's status" 3 "$status"
status=0
patched=$(LD_PRELOAD=$patch sh -c "$script" "$0") || status=$?
check "a shell's status, preloaded" 3 "$status"
check "a shell" "$plain" "$patched"
exit $failed
