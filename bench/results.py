"""What was measured, as rows: one for every workload and metric."""

import dataclasses
import json
import pathlib
import statistics

BASELINE = "pthreads"
OURS = "thrum"

# What thrum can be instead, in a row of its own: the adapter thrum_pool is its variant pool.
VARIANTS = ["", "pool", "threads", "processes", "prefork_pool", "prefork_coroutines"]


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a counter of the programs becomes a workload of its own."""

    suffix: str
    unit: str
    higher_is_better: bool = False
    resolution: float = 0.0  # smaller figures count as this one when they are compared


METRICS = {
    "mops": Metric("", "Mops/s", higher_is_better=True),
    "mitems": Metric("", "M items/s", higher_is_better=True),
    "fairness": Metric("_fairness", "max/min"),
    "longest_wait_us": Metric("_longest_wait", "us"),
    "last_awake_us": Metric("", "us"),
    "set_call_us": Metric("_set_call", "us"),
    "processor_us": Metric("", "us", resolution=1.0),
    "ns_per_task": Metric("", "ns"),
    "roundtrip_us": Metric("", "us"),
    "ms": Metric("", "ms"),
    "us": Metric("", "us"),
    "krps": Metric("", "k requests/s", higher_is_better=True),
    "p99_us": Metric("_p99", "us"),
    "processor_us_per_request": Metric("_processor", "us"),
    "seconds": Metric("", "s"),
    "growth_kib": Metric("_growth", "KiB", resolution=256.0),  # the kernel counts pages late
    "bytes": Metric("", "bytes"),
    "bytes_per_item": Metric("_bytes_per_item", "bytes"),
    "bytes_per_connection": Metric("_memory", "bytes"),
}
TIME = Metric("", "ns")  # what a benchmark without such a counter is judged by

# What the programs say of an adapter: a letter for the table, and what it means.
MARKS = {
    "polls": ("p", "polls: cannot sleep, so that whoever waits keeps a processor busy"),
    "no_close": ("c", "cannot be closed"),
    "no_bound": ("u", "unbounded: a put never waits"),
    "per_producer": ("o", "keeps the order of one producer's items only"),
    "one_each": ("1", "for one producer and one consumer only"),
    "waiter_works": ("w", "the thread that waits is one of the two that work"),
    "runs_inline": ("i", "where many tasks are queued, a submit runs its task itself"),
}

# Topics in the order of the report, and the counters that their programs give.
TOPICS = {
    "lock": ("Nobody else wants it", []),
    "contention": ("Several threads want the same lock", ["mops", "fairness", "longest_wait_us"]),
    "pingpong": ("Two threads wait for each other by turns", []),
    "wake": ("One event wakes many", ["last_awake_us", "set_call_us"]),
    "handoff": ("Buffers and barriers", ["mops"]),
    "queue": ("Queues between producers and consumers", ["mitems"]),
    "queue_time": ("Queues: what one item costs", []),
    "queue_growth": ("Queues that grow", ["mitems", "bytes_per_item"]),
    "shared_queue": ("Queues between processes", ["mitems"]),
    "pool": ("Thread pools: what a task costs", ["ns_per_task", "roundtrip_us"]),
    "pool_fork": ("Thread pools: tasks that submit tasks", ["ms"]),
    "pool_loop": ("Thread pools: loops", ["ms"]),
    "pool_map": ("Thread pools: maps", ["ns_per_task", "growth_kib"]),
    "coroutine": ("Coroutines", []),
    "coroutine_memory": ("Coroutines that wait: memory", ["bytes"]),
    "coroutine_many": ("Very many coroutines", ["seconds"]),
    "subprocess": ("Other programs", ["us"]),
    "process": ("Process pools", ["ns_per_task", "roundtrip_us"]),
    "server": ("Servers", ["krps", "p99_us", "processor_us_per_request", "bytes_per_connection"]),
    "rwlock": ("Readers side by side", ["mops"]),
    "idle": ("Threads that wait", ["processor_us"]),
    "size": ("Sizes", ["bytes"]),
}

# What stands in the place of raw pthreads where that is something else.
BASELINES = {"server": "epoll"}


def metrics_of(topic):
    return [METRICS[name] for name in TOPICS.get(topic, ("", []))[1]] or [TIME]


def is_floor(adapter):
    return adapter.startswith("floor_")


def adapter_of(variant):
    return f"{OURS}_{variant}" if variant else OURS


def variant_of(adapter):
    """Of thrum's adapters; None for the others'."""
    return next((variant for variant in VARIANTS if adapter_of(variant) == adapter), None)


@dataclasses.dataclass(frozen=True)
class Group:
    """The benchmarks that are compared with each other: one workload of one program."""

    program: pathlib.Path
    topic: str
    workload: str
    threads: int

    @property
    def name(self):
        return f"{self.topic}/{self.workload}"

    @property
    def baseline(self):
        return BASELINES.get(self.topic, BASELINE)

    def names(self):
        """Of all the rows that there may be of it."""
        for metric in metrics_of(self.topic):
            for variant in VARIANTS:
                yield Row(self, metric, variant).name


@dataclasses.dataclass
class Row:
    group: Group
    metric: Metric
    variant: str = ""
    about: str = ""
    samples: dict = dataclasses.field(default_factory=dict)  # adapter: figure of every round
    marks: dict = dataclasses.field(default_factory=dict)  # adapter: names in MARKS

    @property
    def workload(self):
        variant = "_" + self.variant if self.variant else ""
        return self.group.workload + variant + self.metric.suffix

    @property
    def name(self):
        return f"{self.group.topic}/{self.workload}"

    @property
    def baseline(self):
        return self.group.baseline

    def value(self, adapter):
        figures = self.samples.get(adapter)
        return statistics.median(figures) if figures else None

    def advantage(self, over):
        """How many times better than `over` thrum is; above 1 thrum is faster."""
        return self.times_better(OURS, over)

    def times_better(self, one, other):
        a, b = self.value(one), self.value(other)
        if a is None or b is None:
            return None
        a, b = max(a, self.metric.resolution), max(b, self.metric.resolution)
        if self.metric.higher_is_better:
            a, b = b, a
        return b / a if a > 0 else None

    def spread(self):
        figures = self.samples.get(OURS)
        if not figures:
            return None
        middle = statistics.median(figures)
        return (max(figures) - min(figures)) / middle if middle else 0.0

    def letters(self, adapter):
        """The adapter's marks as the table has them: "pc"."""
        return "".join(MARKS[mark][0] for mark in self.marks.get(adapter, []))

    def peers(self):
        ours = (OURS, self.baseline)
        names = sorted((a for a in self.samples if a not in ours), key=lambda a: (is_floor(a), a))
        return {a: self.value(a) for a in names}

    def best_peer(self, among=()):
        """The best library; the floor only where there is no library to compare with. `among` these
        only, where the baseline may be one."""
        peers = {a: self.value(a) for a in among if a in self.samples} if among else self.peers()
        candidates = [a for a in peers if not is_floor(a)] or list(peers)
        if not candidates:
            return None
        best = max if self.metric.higher_is_better else min
        return best(candidates, key=lambda adapter: peers[adapter])


def rounded(value):
    """Four significant digits, which is more than any of this is good for."""
    return None if value is None else float(f"{value:.4g}")


def as_json(rows):
    return [
        {
            "topic": row.group.topic,
            "workload": row.workload,
            "unit": row.metric.unit,
            "threads": row.group.threads,
            "thrum": rounded(row.value(OURS)),
            row.baseline: rounded(row.value(row.baseline)),
            "ratio": rounded(row.advantage(row.baseline)),
            "spread": rounded(row.spread()),
            "peers": {adapter: rounded(value) for adapter, value in row.peers().items()},
            "marks": {adapter: row.marks[adapter] for adapter in sorted(row.marks)},
        }
        for row in rows
    ]


def write_json(path, rows):
    path.write_text(json.dumps(as_json(rows), indent=1) + "\n", encoding="utf-8")


# ---- targets ----


def thrum_over_baseline(row, _argument, _rows):
    return row.advantage(row.baseline)


def thrum_itself(row, _argument, _rows):
    return row.value(OURS)


def thrum_over_peers(row, argument, _rows):
    peer = row.best_peer(argument.split(",") if argument else ())
    return row.advantage(peer) if peer and not is_floor(peer) else None


def thrum_over_workload(row, argument, rows):
    """How many times better this workload is than the other; both count the same things."""
    other = next((one for one in rows if one.workload == argument), None)
    a, b = row.value(OURS), other.value(OURS) if other else None
    if not a or not b:
        return None
    return a / b if row.metric.higher_is_better else b / a


# How a target reads, and what it is compared with; targets.tsv says what they are for.
KINDS = {
    "ratio": (">= {value:g}x", thrum_over_baseline),
    "value": ("<= {value:g}", thrum_itself),
    "rate": (">= {value:g}", thrum_itself),
    "peer": (">= {value:g}x peer", thrum_over_peers),
    "of": (">= {value:g}x {argument}", thrum_over_workload),
}


@dataclasses.dataclass(frozen=True)
class Target:
    kind: str
    argument: str  # what stood after the kind's colon
    value: float

    def __str__(self):
        return KINDS[self.kind][0].format(value=self.value, argument=self.argument)

    def verdict(self, row, rows):
        """ok, short, failed (thrum has no figure), or not run: what it is compared with has none."""
        if row.value(OURS) is None:
            return "failed"
        figure = KINDS[self.kind][1](row, self.argument, rows)
        if figure is None:
            return "failed" if self.kind == "ratio" else "not run"
        met = figure <= self.value if self.kind == "value" else figure >= self.value
        return "ok" if met else "short"


class Targets(tuple):
    """What one workload is to reach, all of it."""

    def __str__(self):
        return ", ".join(str(target) for target in self)

    def verdict(self, row, rows):
        """The worst; what was not run counts only where nothing was."""
        verdicts = {target.verdict(row, rows) for target in self}
        return next(v for v in ("failed", "short", "ok", "not run") if v in verdicts)

    def ratio(self):
        """Over the baseline, where one is demanded."""
        return next((target.value for target in self if target.kind == "ratio"), None)


def read_targets(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = [line.split("\t") for line in lines if line and not line.startswith("#")]
    targets = {}
    for workload, kind, value in fields:
        kind, _, argument = kind.partition(":")
        target = Target(kind, argument, float(value))
        targets[workload] = Targets((*targets.get(workload, ()), target))
    return targets


# ---- the table on the terminal ----

COLUMNS = ["workload", "unit", "thrum", "raw pthreads", "ratio", "best peer", "ratio", "target", ""]


def figure(value):
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def peer_cell(row, peer):
    letters = row.letters(peer)
    return f"{figure(row.value(peer))} ({peer}{', ' + letters if letters else ''})"


def baseline_cell(row):
    value = figure(row.value(row.baseline))
    return value if row.baseline == BASELINE or value == "-" else f"{value} ({row.baseline})"


def table_line(row, targets, rows):
    peer = row.best_peer()
    target = targets.get(row.workload)
    return [
        row.name,
        row.metric.unit,
        figure(row.value(OURS)),
        baseline_cell(row),
        figure(row.advantage(row.baseline)),
        peer_cell(row, peer) if peer else "-",
        figure(row.advantage(peer)) if peer else "-",
        str(target) if target else "",
        target.verdict(row, rows) if target else "",
    ]


def legend(rows):
    """What the letters mean that the rows' adapters have."""
    used = {mark for row in rows for marks in row.marks.values() for mark in marks}
    return [f"{letter}  {text}" for mark, (letter, text) in MARKS.items() if mark in used]


def table(rows, targets):
    lines = [COLUMNS] + [table_line(row, targets, rows) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    right = {2, 3, 4, 6}

    def aligned(line):
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ]
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in widths).rstrip()
    body = [aligned(lines[0]), rule] + [aligned(line) for line in lines[1:]]
    notes = legend(rows)
    return "\n".join(body + ([""] + notes if notes else []))
