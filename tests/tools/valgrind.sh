#!/bin/sh
# usage: valgrind.sh PROGRAM
# The program does nothing that Valgrind finds fault with, without any suppressions, and leaks nothing.
set -eu

if ! command -v valgrind >/dev/null; then
    printf 'skipped: no valgrind\n'
    exit 77
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# "Possibly lost" is what the C library keeps for threads that have not quite ended.
check() { # program
    valgrind --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite \
        --num-callers=30 --fair-sched=try "$1" >"$log" 2>&1
}

if ! check true; then
    cat "$log"
    printf 'skipped: valgrind does not work here\n'
    exit 77
fi
status=0
check "$1" || status=$?
cat "$log"
if grep -q 'debuginfo reader: ensure_valid failed' "$log"; then
    printf 'skipped: it does not understand what this compiler says of the program\n'
    exit 77
fi
exit $status
