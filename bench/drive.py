"""Runs the benchmark programs in interleaved rounds and reports. Started by bench/run.

A round starts every workload once, in a process of its own, in which thrum, raw pthreads and the
peers take their turns in random order. What a neighbour on the machine disturbs is one round, not one
library; and each round has another memory layout.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import subprocess
import sys
import time

import report
import results
from results import BASELINE, OURS, Group, Row

HERE = pathlib.Path(__file__).resolve().parent


def regular_expression(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


def parse_arguments():
    p = argparse.ArgumentParser(allow_abbrev=False)
    p.add_argument("--programs", type=pathlib.Path, required=True)
    p.add_argument("--rounds", type=int, required=True)
    p.add_argument("--repeat-seconds", type=float, required=True)
    p.add_argument("--timeout", type=int, required=True)
    p.add_argument("--min-time", required=True)
    p.add_argument("--contended-ms", required=True)
    p.add_argument("--window-ms", required=True)
    p.add_argument("--idle-ms", required=True)
    p.add_argument("--wake-rounds", required=True)
    p.add_argument("--items", required=True)
    p.add_argument("--unbounded-items", required=True)
    p.add_argument("--tasks", required=True)
    p.add_argument("--fib", required=True)
    p.add_argument("--tree", required=True)
    p.add_argument("--elements", required=True)
    p.add_argument("--parked", required=True)
    p.add_argument("--sleepers", required=True)
    p.add_argument("--server-ms", required=True)
    p.add_argument("--idle-connections", required=True)
    p.add_argument("--server-rounds", type=int, required=True)
    p.add_argument("--filter", type=regular_expression, required=True)
    p.add_argument("--no-peers", action="store_true")
    p.add_argument("--json", type=pathlib.Path, required=True)
    p.add_argument("--html", type=pathlib.Path, required=True)
    return p.parse_args()


# ---- what there is to run ----


def list_names(program):
    command = [program, "--benchmark_list_tests=true"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")


def find_groups(programs, wanted):
    """Every workload of every program of which at least one row is wanted."""
    groups = {}
    for program in sorted(programs.glob("*_bench")):
        for name in filter(None, list_names(program)):
            topic, workload, threads, _ = name.split("/")[:4]
            group = Group(program, topic, workload, int(threads))
            if any(wanted.search(name) for name in group.names()):
                groups[group] = None
    topics = list(results.TOPICS)
    return sorted(groups, key=lambda group: topics.index(group.topic))


# ---- who else uses the processors ----

DISTURBED = 0.2  # processors
TICKS = 0.05  # seconds; the kernel counts in hundredths, so that less may be nothing at all


class Neighbours:
    """How many processors the rest of the machine used since this was made. Another process that
    keeps one of two processors busy turns a contended lock into an uncontended one."""

    def __init__(self):
        self.at = self.look()

    @staticmethod
    def look():
        with open("/proc/stat", encoding="utf-8") as stat:
            ticks = [int(field) for field in stat.readline().split()[1:9]]
        busy = sum(ticks) - ticks[3] - ticks[4]  # all but idle and waiting for disks
        own = 0.0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            own += usage.ru_utime + usage.ru_stime
        return time.monotonic(), busy / os.sysconf("SC_CLK_TCK") - own

    def used(self):
        (begin, before), (end, after) = self.at, self.look()
        seconds = after - before
        return seconds / (end - begin) if seconds >= TICKS else 0.0

    @classmethod
    def await_quiet(cls, at_most):
        end = time.monotonic() + at_most
        while time.monotonic() < end:
            neighbours = cls()
            time.sleep(0.3)
            if neighbours.used() < DISTURBED:
                break


# ---- running ----


class Failure(Exception):
    """A workload that gave no figures; `lasting`: the next round would not either."""

    def __init__(self, message, lasting=False):
        super().__init__(message)
        self.lasting = lasting


def start(group, options):
    ours = "|".join([*map(results.adapter_of, results.VARIANTS), group.baseline])
    adapters = f"({ours})(/|$)" if options.no_peers else ""
    command = [
        group.program,
        f"--benchmark_filter=^{group.name}/{group.threads}/{adapters}",
        "--benchmark_enable_random_interleaving=true",
        "--benchmark_format=json",
        f"--benchmark_min_time={options.min_time}",
        f"--contended_ms={options.contended_ms}",
        f"--window_ms={options.window_ms}",
        f"--idle_ms={options.idle_ms}",
        f"--wake_rounds={options.wake_rounds}",
        f"--items={options.items}",
        f"--unbounded_items={options.unbounded_items}",
        f"--tasks={options.tasks}",
        f"--fib={options.fib}",
        f"--tree={options.tree}",
        f"--elements={options.elements}",
        f"--parked={options.parked}",
        f"--sleepers={options.sleepers}",
        f"--server_ms={options.server_ms}",
        f"--idle_connections={options.idle_connections}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.timeout)
    except subprocess.TimeoutExpired:
        raise Failure(f"hung: ended after {options.timeout} s", lasting=True) from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Failure(f"ended with status {done.returncode}: {last}")
    return json.loads(done.stdout)


class Collector:
    """Keeps what the programs said, and makes rows of it."""

    def __init__(self, repeat_seconds):
        self.outputs = {}  # group: (what the neighbours used, output) of every round
        self.rows = {}
        self.failures = []
        self.context = {}
        self.not_installed = set()
        self.repeat_seconds = repeat_seconds  # what is left for repeating disturbed runs
        self.disturbed = self.left_out = 0

    def fail(self, group, message):
        if (group.name, message) not in self.failures:
            self.failures.append((group.name, message))

    def add(self, group, used, output):
        self.context = output["context"]
        self.not_installed.update(filter(None, self.context.get("not_installed", "").split(", ")))
        self.outputs.setdefault(group, []).append((used, output))

    def runs(self):
        return sum(len(rounds) for rounds in self.outputs.values())

    def make_rows(self, groups):
        for group in groups:
            for output in self.quiet_rounds(group):
                self.add_figures(group, output)
            if not any(key[0] == group for key in self.rows):  # it keeps its place in the table
                metric = results.metrics_of(group.topic)[0]
                self.rows[group, metric, ""] = Row(group, metric)
        self.share_peers()

    def share_peers(self):
        """A variant is beside what its workload's baseline and plain threads did."""
        for (group, metric, variant), row in self.rows.items():
            first = self.rows.get((group, metric, ""))
            if variant and first:
                for adapter in {group.baseline, BASELINE} & first.samples.keys():
                    row.samples[adapter] = first.samples[adapter]

    def quiet_rounds(self, group):
        """The undisturbed rounds; the quietest three where there are fewer than three."""
        rounds = sorted(self.outputs.get(group, []), key=lambda one: one[0])
        quiet = sum(used < DISTURBED for used, _ in rounds)
        counted = rounds[: max(quiet, 3)]
        self.left_out += len(rounds) - len(counted)
        self.disturbed += sum(used >= DISTURBED for used, _ in counted)
        return [output for _, output in counted]

    def add_figures(self, group, output):
        for run in output["benchmarks"]:
            adapter = run["name"].split("/")[3]
            if run.get("error_occurred"):
                self.fail(group, f"{adapter}: {run['error_message']}")
                continue
            counters = [name for name in results.METRICS if name in run]
            for name in counters:
                self.add_figure(group, results.METRICS[name], adapter, run[name], run)
            if not counters:
                # Processor time where nothing waits: a neighbour's time slice is not the lock's.
                time_kind = "real_time" if "manual_time" in run["name"] else "cpu_time"
                self.add_figure(group, results.TIME, adapter, run[time_kind], run)

    def add_figure(self, group, metric, adapter, value, run):
        variant = results.variant_of(adapter) or ""
        if variant:
            adapter = OURS
        row = self.rows.setdefault((group, metric, variant), Row(group, metric, variant))
        row.about = run.get("label", "")
        row.samples.setdefault(adapter, []).append(value)
        marks = [mark for mark in results.MARKS if mark in run]
        if marks:
            row.marks[adapter] = marks


# ---- progress ----


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    """One line that is written over; a line every ten seconds where there is no terminal."""

    def __init__(self, groups, options):
        rounds = options.rounds
        few = {"size": 1, "server": min(rounds, options.server_rounds)}
        self.plan = {group: few.get(group.topic, rounds) for group in groups}
        self.rounds = rounds
        self.took = {}  # group: seconds of its last run
        self.begin = self.last_line = time.monotonic()

    def remaining(self):
        known = sum(self.took.values()) / len(self.took) if self.took else 0
        return sum(n * self.took.get(group, known) for group, n in self.plan.items())

    def show(self, index, group, this_round):
        now = time.monotonic()
        text = (
            f"[round {this_round} of {self.rounds}, workload {index} of {len(self.plan)}]"
            f" {clock(now - self.begin)} elapsed"
        )
        if len(self.took) >= 5:
            text += f", about {clock(self.remaining())} to go"
        text += f": {group.name}"
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r\033[K" + text[:width])
        elif now - self.last_line >= 10 or (index, this_round) == (1, 1):
            sys.stderr.write(text + "\n")
            self.last_line = now
        sys.stderr.flush()

    def done(self, group, seconds):
        self.took[group] = seconds
        self.plan[group] -= 1

    def end(self):
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
        elapsed = clock(time.monotonic() - self.begin)
        sys.stderr.write(f"{len(self.plan)} workloads, {self.rounds} rounds, {elapsed}\n")


def attempt(group, options):
    neighbours = Neighbours()
    output = start(group, options)
    return neighbours.used(), output


def run_undisturbed(group, options, collector):
    """Repeats a run during which others were busy; if they always are, keeps the quietest."""
    attempts = [attempt(group, options)]
    begin = time.monotonic()
    while attempts[-1][0] >= DISTURBED and len(attempts) < 3 and collector.repeat_seconds > 0:
        Neighbours.await_quiet(at_most=min(10, collector.repeat_seconds))
        attempts.append(attempt(group, options))
        collector.repeat_seconds -= time.monotonic() - begin
        begin = time.monotonic()
    collector.add(group, *min(attempts, key=lambda one: one[0]))


def run_all(groups, options):
    collector = Collector(options.repeat_seconds)
    progress = Progress(groups, options)
    given_up = set()
    for this_round in range(1, options.rounds + 1):
        for index, group in enumerate(groups, 1):
            if group in given_up or progress.plan[group] == 0:
                continue
            progress.show(index, group, this_round)
            begin = time.monotonic()
            try:
                run_undisturbed(group, options, collector)
            except Failure as failure:
                collector.fail(group, str(failure))
                if failure.lasting:
                    given_up.add(group)
            progress.done(group, time.monotonic() - begin)
    progress.end()
    collector.make_rows(groups)
    return collector


# ---- where it was measured ----


def processor_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.lower().startswith(("model name", "hardware")):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def commit():
    def git(*arguments):
        command = ["git", "-C", str(HERE), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe(collector, options, others):
    context = collector.context
    about = {
        "machine": f"{processor_name()}, {len(os.sched_getaffinity(0))} processors, "
        f"{platform.machine()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "compiler": context.get("compiler", "unknown"),
        "allocator": context.get("allocator", "unknown"),
        "commit": commit(),
        "repetitions": f"{options.rounds} interleaved rounds, medians; windows of "
        f"{options.contended_ms} ms (contended locks) and {options.window_ms} ms; servers: "
        f"{min(options.rounds, options.server_rounds)} rounds, {options.server_ms} ms",
        "neighbours": f"other processes used {others:.2f} processors; of {collector.runs()} runs "
        f"{collector.left_out} were left out because of them, {collector.disturbed} count although "
        "disturbed",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
    if collector.not_installed:
        about["left out"] = ", ".join(sorted(collector.not_installed)) + ": not installed"
    return about


def main():
    options = parse_arguments()
    groups = find_groups(options.programs, options.filter)
    if not groups:
        sys.exit(f"no workload matches {options.filter.pattern!r}")
    neighbours = Neighbours()
    collector = run_all(groups, options)
    others = neighbours.used()
    rows = [row for row in collector.rows.values() if options.filter.search(row.name)]
    rows.sort(key=lambda row: (groups.index(row.group), results.VARIANTS.index(row.variant)))
    targets = results.read_targets(HERE / "targets.tsv")
    about = describe(collector, options, others)

    for path in (options.json, options.html):
        path.parent.mkdir(parents=True, exist_ok=True)
    results.write_json(options.json, rows)
    report.write_html(options.html, rows, targets, about, collector.failures)
    print("\n".join(f"{key:<12} {value}" for key, value in about.items()))
    print("\nA ratio above 1 means that thrum is faster (or fairer, or smaller).\n")
    print(results.table(rows, targets))
    for name, message in collector.failures:
        print(f"FAILED {name}: {message}")
    print(f"\n{options.json}\n{options.html}")
    return 1 if collector.failures else 0


if __name__ == "__main__":
    sys.exit(main())
