"""thrum for gdb: coroutines and who waits on what, in a live process and in a core file.

    thrum coroutines            all coroutines that have not ended
    thrum waiters               all coroutines and threads that wait, and on what
    thrum backtrace ID|all      the calls of one coroutine, or of all
    thrum select ID             look into a coroutine: up, down, info locals; frame 0 stays the thread's
    thrum select                back to the thread

gdb loads this file with the library, where it may (info auto-load), and else by

    (gdb) source /usr/share/gdb/auto-load/usr/lib/libthrum.so.0.1.0-gdb.py

It needs the debug information of the library, and reads the process only: nothing in it is called or
changed.
"""

import re
import struct
import time

import gdb
import gdb.unwinder

SLOT_BITS = 24  # lib/strand/strand.h
CHUNK_BITS = 10  # lib/strand/registry.c

# Where a suspended context keeps its registers, from its stack pointer on; how far that lies below the
# stack pointer of the caller; which of the ucontext_t's registers are which. (lib/coroutine/context_*.S)
LAYOUTS = {
    "x86-64": {
        "frame": {"r15": 8, "r14": 16, "r13": 24, "r12": 32, "rbx": 40, "rbp": 48, "rip": 56},
        "size": 64,
        "sp": "rsp",
        "pc": "rip",
        "ucontext": {"r12": 4, "r13": 5, "r14": 6, "r15": 7, "rbp": 10, "rbx": 11, "rsp": 15,
                     "rip": 16},
    },
    "aarch64": {
        "frame": {**{f"x{i}": (i - 19) * 8 for i in range(19, 31)},
                  "pc": 88},
        "size": 176,
        "sp": "sp",
        "pc": "pc",
        "ucontext": {f"x{i}": i for i in range(19, 31)},
    },
}

# thi_coro_state_t (lib/coroutine/core.h), which no variable has as its type.
STATES = ("NEW", "YIELDED", "SWITCHED", "RESUMING", "RUNNING", "BLOCKED", "READY", "DONE")
SUSPENDED = ("RESUMING", "YIELDED", "SWITCHED", "BLOCKED", "READY")


class NotHere(gdb.GdbError):
    """Something that the library should have is not there."""


def static_variable(name, file):
    """A file's own variable; also where other files have one of that name."""
    for symbol in gdb.lookup_static_symbols(name):
        if symbol.symtab is not None and symbol.symtab.filename.endswith(file):
            return symbol.value()
    raise NotHere(f"no {name} of {file}: is thrum in the program, with its debug information?")


def lookup_type(name):
    try:
        return gdb.lookup_type(name)
    except gdb.error as error:
        raise NotHere(f"no type {name}: is thrum there, with its debug information?") from error


def word(address):
    size = gdb.lookup_type("long").sizeof
    memory = gdb.selected_inferior().read_memory(address, size)
    return int.from_bytes(bytes(memory), "little")


def text_of(value):
    return value.string("utf-8", "replace")


# --- strands ----------------------------------------------------------------------------------------------


def strands():
    """Those alive, as values of struct thi_strand."""
    chunks = static_variable("chunks", "strand/registry.c")
    used = int(static_variable("used", "strand/registry.c"))
    type_ = lookup_type("struct thi_strand")
    alive = next(f.bitpos // 8 for f in type_.fields() if f.name == "alive")
    inferior = gdb.selected_inferior()
    pointer = type_.pointer()
    size = pointer.sizeof
    for first in range(0, used, 1 << CHUNK_BITS):
        n = min(used - first, 1 << CHUNK_BITS)
        records = inferior.read_memory(int(chunks[first >> CHUNK_BITS]), n * size)
        for (address,) in struct.iter_unpack("<Q", bytes(records)):
            if bytes(inferior.read_memory(address + alive, 4)) != bytes(4):
                yield gdb.Value(address).cast(pointer).dereference()


def slot_of(strand):
    return int(strand["id"]) & ((1 << SLOT_BITS) - 1)


def kind_of(strand):
    return text_of(strand["kind"]["name"])


def native_id(strand):
    record = lookup_type("struct thread_record").pointer()
    return int(strand.address.cast(record)["native_id"])


def thread_number(lwp):
    """gdb's number of the thread; None: it has ended."""
    for thread in gdb.selected_inferior().threads():
        if lwp in thread.ptid[1:]:
            return thread.num
    return None


def thread_name(strand):
    lwp = native_id(strand)
    number = thread_number(lwp)
    return f"thread {number} (LWP {lwp})" if number is not None else f"LWP {lwp}"


def symbol_at(address):
    """What of the program is at an address, as gdb says it: "<jobs+8>"; "": nothing that has a name."""
    said = gdb.execute(f"info symbol {address:#x}", to_string=True)
    match = re.match(r"(\S+)(?: \+ (\d+))? in section", said)
    if match is None:
        return ""
    return f" <{match[1]}{'+' + match[2] if match[2] else ''}>"


def is_live():
    """Of a process on this machine, whose clock is ours."""
    connection = getattr(gdb.selected_inferior(), "connection", None)
    return connection is not None and connection.type == "native"


def when(since):
    if is_live():
        return f"for {max(time.clock_gettime_ns(time.CLOCK_MONOTONIC) - since, 0) / 1e9:.3f} s"
    return f"since {since / 1e9:.3f} s"


def waits_on(strand):
    """ "mutex 0x55.. <lock> for 1.2 s"; "": it does not wait."""
    site = strand["site"]
    if int(site) == 0:
        return ""
    what = text_of(site["what"])
    address = int(strand["object"])
    where = f" {address:#x}{symbol_at(address)}" if address != 0 else ""
    return f"{what}{where} {when(int(strand['since']))}"


# --- coroutines -------------------------------------------------------------------------------------------


class Coroutine:
    def __init__(self, strand):
        self.strand = strand
        self.record = strand.address.cast(lookup_type("struct thrum_coro").pointer()).dereference()
        self.id = slot_of(strand)
        self.name = text_of(self.record["name"])
        self.state = STATES[int(self.record["state"])]

    def thread(self):
        """Of the thread that it belongs to: its strand. None: a loop that nobody has run yet."""
        stage = self.record["stage"]
        return stage["self"]["fiber"]["strand"].dereference() if int(stage) != 0 else None

    def function(self):
        return str(self.record["fn"].format_string(symbols=True)).split("<")[-1].rstrip(">")

    def is_current(self):
        stage = self.record["stage"]
        return int(stage) != 0 and int(stage["current"]) == int(self.record.address)

    def place(self):
        thread = self.thread()
        loop = int(self.record["loop"])
        places = [f"loop {loop:#x}"] if loop != 0 else []
        places += [thread_name(thread)] if thread is not None else []
        return ", ".join(places)

    def describe(self):
        waits = waits_on(self.strand)
        return (f"coroutine {self.id} \"{self.name}\": {self.state.lower()}, {self.function()}, "
                f"{self.place()}{', ' + waits if waits else ''}")

    def is_suspended(self):
        return self.state in SUSPENDED and not self.is_current()


def coroutines():
    kind = gdb.lookup_global_symbol("thi_coro_kind")
    if kind is None:
        raise NotHere("no thi_coro_kind: is thrum there, with its debug information?")
    kind = int(kind.value().address)
    for strand in strands():
        if int(strand["kind"]) == kind:
            yield Coroutine(strand)


def coroutine_of(argument):
    try:
        wanted = int(argument, 0)
    except ValueError as error:
        raise gdb.GdbError(f"no number of a coroutine: {argument}") from error
    for co in coroutines():
        if co.id == wanted:
            return co
    raise gdb.GdbError(f"no coroutine {wanted} is alive")


# --- stacks -----------------------------------------------------------------------------------------------


def layout():
    name = gdb.selected_inferior().architecture().name() if hasattr(
        gdb.selected_inferior(), "architecture") else gdb.selected_frame().architecture().name()
    for key, value in (("x86-64", LAYOUTS["x86-64"]), ("aarch64", LAYOUTS["aarch64"])):
        if key in name:
            return value
    raise gdb.GdbError(f"the stacks of coroutines on {name} are not known")


def registers_of(co):
    """What the registers will be when it goes on: by name, integers."""
    where = layout()
    sp = co.record["fiber"]["context"]["sp"]
    if sp.type.strip_typedefs().target().strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        return from_ucontext(sp.dereference()["uc_mcontext"], where)
    registers = {name: word(int(sp) + at) for name, at in where["frame"].items()}
    registers[where["sp"]] = int(sp) + where["size"]
    return registers


def from_ucontext(context, where):
    # How the members are called depends on what the C library was asked for.
    member = {field.name.lstrip("_"): context[field] for field in context.type.fields()}
    values = member["gregs" if "gregs" in member else "regs"]
    registers = {name: int(values[at]) for name, at in where["ucontext"].items()}
    for name in ("sp", "pc"):
        if name in member:
            registers[name] = int(member[name])
    return registers


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class Unwinder(gdb.unwinder.Unwinder):
    """Says that a coroutine has called what the selected thread does: so gdb shows its calls without that
    a register is written, which a core file does not allow."""

    def __init__(self):
        super().__init__("thrum")
        self.registers = None  # None: no coroutine is looked at
        self.thread = None

    def __call__(self, pending):
        if self.registers is None or gdb.selected_thread() != self.thread or pending.level() != 0:
            return None
        where = layout()
        # Below all frames of the coroutine, as a call of it would be.
        frame_id = FrameId(gdb.Value(self.registers[where["sp"]] - where["size"]),
                           pending.read_register(where["pc"]))
        info = pending.create_unwind_info(frame_id)
        for name, value in self.registers.items():
            try:
                type_ = pending.read_register(name).type
            except (ValueError, gdb.error):
                continue
            if type_.sizeof == 8:
                info.add_saved_register(name, gdb.Value(value).cast(type_))
        return info

    def look_at(self, registers):
        self.registers = registers
        self.thread = gdb.selected_thread() if registers is not None else None
        gdb.invalidate_cached_frames()


unwinder = Unwinder()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)


def frames_of_selected(first):
    """The calls of the selected thread from a frame on, numbered from 0."""
    said = gdb.execute("backtrace -frame-info location-and-address", to_string=True)
    lines = []
    for line in said.splitlines():
        match = re.match(r"#(\d+) (.*)", line)
        if match is None:
            lines.append((None, line))
        elif int(match[1]) >= first:
            lines.append((int(match[1]) - first, match[2]))
    return "\n".join(f"  #{n:<3}{line}" if n is not None else f"  {line}" for n, line in lines)


def backtrace_of_suspended(co):
    if gdb.selected_thread() is None:
        raise gdb.GdbError("no thread is selected")
    before = unwinder.registers
    unwinder.look_at(registers_of(co))
    try:
        return frames_of_selected(1)
    finally:
        unwinder.look_at(before)


def backtrace_of_current(co):
    """On its thread."""
    number = thread_number(native_id(co.thread()))
    if number is None:
        return "  (its thread has ended)"
    before = gdb.selected_thread()
    for thread in gdb.selected_inferior().threads():
        if thread.num == number:
            thread.switch()
    try:
        return frames_of_selected(0)
    finally:
        before.switch()


def backtrace_of(co):
    if co.is_current():
        return backtrace_of_current(co)
    if co.is_suspended():
        return backtrace_of_suspended(co)
    return f"  (has not begun: {co.function()})" if co.state == "NEW" else "  (nothing to see)"


# --- commands ---------------------------------------------------------------------------------------------


class Thrum(gdb.Command):
    """Coroutines, and who waits on what, in programs with thrum."""

    def __init__(self):
        super().__init__("thrum", gdb.COMMAND_STACK, prefix=True)


class Coroutines(gdb.Command):
    """List the coroutines that have not ended: number, name, state, function, loop and thread, and what
they wait on."""

    def __init__(self):
        super().__init__("thrum coroutines", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        n = 0
        for co in coroutines():
            print(co.describe())
            n += 1
        print(f"{n} coroutine{'s' if n != 1 else ''}")


class Waiters(gdb.Command):
    """List the coroutines and threads that wait: on what, and since when."""

    def __init__(self):
        super().__init__("thrum waiters", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        n = 0
        for strand in strands():
            waits = waits_on(strand)
            if waits == "":
                continue
            kind = kind_of(strand)
            if kind == "coroutine":
                co = Coroutine(strand)
                name = f"coroutine {co.id} \"{co.name}\""
            else:
                name = thread_name(strand) if kind == "thread" else kind
            print(f"{name}: {waits}")
            n += 1
        print(f"{n} wait{'s' if n == 1 else ''}")


class Backtrace(gdb.Command):
    """Print the calls of a coroutine: thrum backtrace ID, or of all: thrum backtrace all."""

    def __init__(self):
        super().__init__("thrum backtrace", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        argument = argument.strip()
        if argument == "":
            raise gdb.GdbError("usage: thrum backtrace ID|all")
        for co in list(coroutines()) if argument == "all" else [coroutine_of(argument)]:
            print(co.describe())
            try:
                print(backtrace_of(co))
            except gdb.error as error:
                print(f"  (cannot be read: {error})")


class Select(gdb.Command):
    """Look into a coroutine: thrum select ID. Its calls are then frames 1, 2, ... of the selected thread,
whose own frame 0 stays. Without a number: back to the thread. Go back before the program runs on."""

    def __init__(self):
        super().__init__("thrum select", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        if argument.strip() == "":
            unwinder.look_at(None)
            return
        co = coroutine_of(argument)
        if not co.is_suspended():
            raise gdb.GdbError(f"{co.describe()}: it is not suspended")
        if gdb.selected_thread() is None:
            raise gdb.GdbError("no thread is selected")
        unwinder.look_at(registers_of(co))
        gdb.execute("frame 1")


Thrum()
Coroutines()
Waiters()
Backtrace()
Select()


def forget(_event):
    """The program has run on: what was selected is no longer where it was."""
    unwinder.registers = None


gdb.events.cont.connect(forget)
