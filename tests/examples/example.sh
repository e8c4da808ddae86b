#!/bin/sh
# usage: example.sh PROGRAM EXPECTED - runs it; where EXPECTED exists, it must print just that.
set -eu

if [ ! -f "$2" ]; then
    exec "$1"
fi

printed=$(mktemp)
trap 'rm -f "$printed"' EXIT
"$1" >"$printed"
diff -u "$2" "$printed"
