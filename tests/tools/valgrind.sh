#!/bin/sh
# usage: valgrind.sh PROGRAM
# The program does nothing that Valgrind finds fault with, without any suppressions, and leaks nothing.
set -eu

if ! command -v valgrind >/dev/null; then
    printf 'skipped: no valgrind\n'
    exit 77
fi
if ! valgrind --error-exitcode=9 true >valgrind.log 2>&1; then
    cat valgrind.log
    printf 'skipped: valgrind does not work here\n'
    exit 77
fi
# "Possibly lost" is what the C library keeps for threads that have not quite ended.
exec valgrind --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --num-callers=30 \
    --fair-sched=try "$1"
