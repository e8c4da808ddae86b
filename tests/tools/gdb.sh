#!/bin/sh
# usage: gdb.sh PROGRAM BUILD WORK
# thrum-gdb.py, in gdb: of a process, of a core file, and loaded with an installed library. PROGRAM is
# tests/tools/parked.c.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
program=$1
build=$2
work=$3
cmake=${CMAKE:-cmake}
script=$root/lib/package/thrum-gdb.py

rm -rf "$work"
mkdir -p "$work"
if ! command -v gdb >/dev/null ||
    ! gdb -nx -batch -ex 'python print("python: yes")' 2>&1 | grep -q '^python: yes'; then
    printf 'skipped: no gdb with Python\n'
    exit 77
fi
if ! gdb -nx -batch -ex 'break main' -ex run "$program" 2>&1 | grep -q '^Breakpoint 1, main'; then
    printf 'skipped: gdb may not debug here\n'
    exit 77
fi

failed=0
said() { # file, pattern
    if ! grep -Eq "$2" "$work/$1"; then
        printf 'FAILED: not in %s: %s\n' "$1" "$2"
        failed=1
    fi
}

# What it says of the same coroutines, of a process and of a core file.
look() { # name, gdb's arguments
    name=$1
    shift
    gdb -nx -batch "$@" >"$work/$name" 2>&1 || true
    said "$name" '^coroutine [0-9]+ "": resuming, main_coroutine, loop 0x[0-9a-f]+, thread 1 '
    said "$name" '^coroutine [0-9]+ "waiter": blocked, event_coroutine, .* event 0x[0-9a-f]+ <never> '
    said "$name" '^coroutine [0-9]+ "locker": blocked, .* mutex 0x[0-9a-f]+ <jobs_lock> '
    said "$name" '^coroutine [0-9]+ "sleeper": blocked, .* sleep '
    said "$name" '^coroutine [0-9]+ "generator": yielded, generator, '
    said "$name" '^coroutine [0-9]+ "fresh": new, '
    said "$name" '^coroutine [0-9]+ "inner": running, inner_coroutine, '
    said "$name" '^7 coroutines$'
    said "$name" '^thread 2 .*: semaphore 0x[0-9a-f]+ <no_permits> '
    said "$name" '^coroutine [0-9]+ "sleeper": sleep '
    said "$name" '^4 wait$'
    for call in waits_for_event calls_the_waiter event_coroutine lock_coroutine \
        sleeping_coroutine yields_a_value stands_here main_coroutine; do
        said "$name" "^  #[0-9]+ .*$call "
    done
    said "$name" '^  .*has not begun: generator'
    said "$name" '^marker is 41$'
    if grep -E 'Python Exception|Error|cannot be read|corrupt' "$work/$name"; then
        failed=1
    fi
}

waiter=$(printf 'python gdb.execute("thrum select %%d" %% next(c.id for c in coroutines() if c.name == "waiter"))')
inside='python
frame = gdb.selected_frame()
while frame.name() != "waits_for_event":
    frame = frame.older()
frame.select()
print("marker is", frame.read_var("marker"))
end
thrum select
backtrace 1'
printf 'thrum coroutines\nthrum waiters\nthrum backtrace all\n%s\n%s\n' "$waiter" "$inside" >"$work/look.gdb"

look process -ex 'break everybody_is_parked' -ex run -x "$script" -x "$work/look.gdb" "$program"
said process '<never> for [0-9.]+ s$'

# The system's core files: gdb's own leave out what lies beside the stacks' guards.
(cd "$work" && ulimit -c unlimited && exec "$program" crash) >"$work/crash" 2>&1 || true
core=$(find "$work" -name 'core*' -type f | head -n 1)
if [ -n "$core" ]; then
    look core-said -x "$script" -x "$work/look.gdb" "$program" "$core"
    said core-said '<never> since [0-9.]+ s$'
else
    printf 'left out: this system keeps core files elsewhere\n'
fi

# With the library.
"$cmake" --install "$build" --prefix "$work/stage" >"$work/install.log"
library=$(find "$work/stage" -name 'libthrum.so.*.*.*' ! -name '*.py')
LD_LIBRARY_PATH=$(dirname "$library")
export LD_LIBRARY_PATH
look installed -iex "add-auto-load-safe-path $work/stage" -ex 'break everybody_is_parked' -ex run \
    -x "$work/look.gdb" "$program"
find "$work/stage" -path '*/gdb/auto-load/*' -name 'libthrum.so.*-gdb.py' >"$work/auto-load"
said auto-load .

[ $failed = 0 ] || cat "$work/process"
exit $failed
