"""The HTML report: one file, nothing fetched. gnuplot draws the charts."""

import collections
import html
import itertools
import json
import math
import re
import shutil
import subprocess

import results
from results import BASELINE, OURS

COLOURS = {
    OURS: "#d1495b",
    BASELINE: "#22313f",
    "pthreads_signal_inside": "#7d8f9e",
    "pthreads_signal_after": "#7d8f9e",
    "std": "#2e86ab",
    "glib": "#4f9d69",
    "nsync": "#8e6bbf",
    "absl": "#e09f3e",
    "tbb": "#8e6bbf",
    "moodycamel": "#e09f3e",
    "moodycamel_tokens": "#b5651d",
    "moodycamel_blocking": "#f2c14e",
    "boost": "#17a2a2",
    "boost_spsc": "#0b6b6b",
    "ck_ring": "#c77dbb",
    "pthreads_create_join": "#b0bcc6",
    "std_async": "#2e86ab",
    "tbb_enqueue": "#c77dbb",
    "uv": "#b5651d",
    "asio": "#17a2a2",
    "openmp": "#e09f3e",
    "ucontext": "#b0bcc6",
    "boost_fcontext": "#2e86ab",
    "boost_context": "#4f9d69",
    "boost_coroutine2": "#8e6bbf",
    "boost_fiber": "#e09f3e",
    "boost_fiber_buffered": "#e09f3e",
    "boost_fiber_unbuffered": "#f2c14e",
    "epoll": "#17a2a2",
    "libevent": "#2e86ab",
    "libevent_buffers": "#8e6bbf",
    "nginx": "#4f9d69",
    "redis": "#e09f3e",
}
FLOOR_COLOUR = "#a0a7ad"

# ---- gnuplot ----


def gnuplot(script, name):
    """The script's picture as an <svg> element whose ids are its own."""
    done = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or "<svg" not in done.stdout:
        raise RuntimeError(done.stderr.strip() or "gnuplot drew nothing")
    svg = done.stdout[done.stdout.index("<svg") :]
    svg = re.sub(r"<title>.*?</title>", "", svg, flags=re.S)  # "Gnuplot", shown as a tooltip
    return re.sub(r"""((?:\bid|xlink:href|href|clip-path)=['"](?:url\()?#?)""", rf"\1{name}-", svg)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def data_block(name, lines):
    return f"${name} << EOD\n" + "\n".join(lines) + "\nEOD\n"


def ticks(axis, labels):
    pairs = ", ".join(f"{quoted(label)} {position}" for position, label in labels)
    return f"set {axis}tics ({pairs}) scale 0\n"


def nice_ticks(low, high):
    """1, 2 and 5 in every decade; 1 alone where there are many decades."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 500 else (1,)
    values = [step * 10.0**decade for decade in decades for step in steps]
    return [(value, f"{value:g}") for value in values if low <= value <= high]


def header(height, left, top=1.0, bottom=2.5):
    return f"""
set terminal svg size 940,{height} dynamic noenhanced font "Helvetica,13" linewidth 1 background "#ffffff"
set encoding utf8
set border 1 linecolor "#98a2ab"
set lmargin {left}
set rmargin 9
set tmargin {top}
set bmargin {bottom}
set grid xtics linecolor "#e3e7ea" linetype 1 linewidth 1
set xtics nomirror scale 0.5 textcolor "#5b6670"
set ytics nomirror textcolor "#22313f"
set logscale x
"""


def left_margin(labels):
    return max(len(label) for label in labels) * 0.84 + 1


# ---- the overview: thrum's advantage, workload by workload ----


def belongs_in_overview(row, targets):
    """What a workload is mainly about, and whatever has a target."""
    return row.workload in targets or (not row.metric.suffix and row.group.topic != "size")


def overview_chart(rows, targets):
    """Bars from 1 to thrum's advantage over the baseline; a diamond where the best peer stands."""
    everyone = rows
    rows = [
        row for row in rows if row.advantage(row.baseline) and belongs_in_overview(row, targets)
    ]
    if not rows:
        return ""
    bars, peers, goals, figures = [], [], [], []
    everything = [1.0]
    for index, row in enumerate(rows):
        y, ratio = len(rows) - index, row.advantage(row.baseline)
        target = targets.get(row.workload)
        verdict = target.verdict(row, everyone) if target else ""
        colour = {"ok": "0x3c8d5a", "short": "0xd1495b"}.get(verdict, "0x8fa3b3")
        bars.append(f"1 {y} {min(1, ratio)} {max(1, ratio)} {y - 0.32} {y + 0.32} {colour}")
        figures.append((y, results.figure(ratio)))
        peer = row.best_peer()
        beside = row.times_better(peer, row.baseline) if peer else None
        if beside:
            peers.append(f"{beside} {y}")
            everything.append(beside)
        goal = target.ratio() if target else None
        if goal:
            goals.append(f"{goal} {y - 0.42} 0 0.84")
            everything.append(goal)
        everything.append(ratio)
    low, high = min(everything) / 1.3, max(everything) * 1.3
    labels = [(len(rows) - index, row.name) for index, row in enumerate(rows)]
    script = header(len(rows) * 21 + 70, left_margin([label for _, label in labels]), top=2.5)
    script += data_block("bars", bars) + data_block("peers", peers or ["NaN NaN"])
    script += data_block("goals", goals or ["NaN NaN 0 0"])
    script += ticks("x", nice_ticks(low, high)) + ticks("y", labels) + ticks("y2", figures)
    script += f"""
set link y2
set y2tics textcolor "#22313f"
set xrange [{low}:{high}]
set yrange [0.3:{len(rows)}.7]
set arrow from 1, graph 0 to 1, graph 1 nohead linecolor "#22313f" linewidth 1.2
set key at graph 0.5, screen 0.995 center top horizontal reverse Left samplen 1.5 textcolor "#22313f"
plot $bars using 1:2:3:4:5:6:7 with boxxyerror fillstyle solid noborder linecolor rgb variable notitle, \\
 $goals using 1:2:3:4 with vectors nohead linecolor "#22313f" linewidth 2.5 title "target", \\
 $peers using 1:2 with points pointtype 13 pointsize 0.75 linecolor "#e09f3e" title "best peer"
"""
    return gnuplot(script, "overview")


# ---- one chart for every topic and unit ----


def adapters_of(rows):
    """thrum first, pthreads next, then the peers, and the floors last."""
    present = {adapter for row in rows for adapter in row.samples}
    known = [adapter for adapter in COLOURS if adapter in present]
    return known + sorted(present - set(known))


FLOOR_POINTS = [(4, "\u25a1"), (6, "\u25cb"), (8, "\u25b3"), (10, "\u25bd")]


def point_styles(adapters):
    """adapter: (gnuplot's style, the same as a character)."""
    styles = {adapter: ("pointtype 13 pointsize 0.75", "\u25c6") for adapter in adapters}
    styles[OURS] = ("pointtype 7 pointsize 0.9", "\u25cf")
    for baseline in (BASELINE, *results.BASELINES.values()):
        styles[baseline] = ("pointtype 5 pointsize 0.75", "\u25a0")
    floors = [adapter for adapter in adapters if results.is_floor(adapter)]
    for (point, character), floor in zip(itertools.cycle(FLOOR_POINTS), floors):
        styles[floor] = (f"pointtype {point} pointsize 0.65", character)
    return styles


def chart_key(adapters):
    """Above the chart; gnuplot's own does not wrap when there are many."""
    styles = point_styles(adapters)
    entries = (
        f'<span><b style="color:{COLOURS.get(adapter, FLOOR_COLOUR)}">{styles[adapter][1]}</b> '
        f"{html.escape(adapter)}</span>"
        for adapter in adapters
    )
    return f'<p class="key">{" ".join(entries)}</p>'


def points(rows, adapter, place, how_many):
    """`x y low high` of one adapter, a little above or below its neighbours'."""
    shift = 0.36 - 0.72 * place / max(how_many - 1, 1)
    for index, row in enumerate(rows):
        figures = row.samples.get(adapter)
        if figures and min(figures) > 0:
            y = len(rows) - index + shift
            yield f"{row.value(adapter)} {y} {min(figures)} {max(figures)}"


def topic_chart(rows, name):
    """A dot for the median of every adapter, with a line over the rounds' range."""
    adapters = adapters_of(rows)
    figures = [f for row in rows for figures in row.samples.values() for f in figures if f > 0]
    if not figures:
        return ""
    low, high = min(figures) / 1.25, max(figures) * 1.25
    labels = [(len(rows) - index, row.workload) for index, row in enumerate(rows)]
    height = max(len(rows) * (16 + 6 * len(adapters)) + 65, 130)
    script = header(height, left_margin([label for _, label in labels]), bottom=3.5)
    script += ticks("x", nice_ticks(low, high)) + ticks("y", labels)
    plots = []
    styles = point_styles(adapters)
    for place, adapter in enumerate(adapters):
        block = "d" + str(place)
        lines = list(points(rows, adapter, place, len(adapters)))
        script += data_block(block, lines or ["NaN NaN NaN NaN"])
        colour = f'linecolor "{COLOURS.get(adapter, FLOOR_COLOUR)}"'
        plots.append(f"${block} using 1:2:3:4 with xerrorbars pointtype 0 {colour} notitle")
        plots.append(f"${block} using 1:2 with points {styles[adapter][0]} {colour} notitle")
    for index in range(1, len(rows)):
        script += (
            f"set arrow from graph 0, first {index + 0.5} to graph 1, first {index + 0.5}"
            ' nohead linecolor "#eef1f3"\n'
        )
    metric = rows[0].metric
    direction = "more is better" if metric.higher_is_better else "less is better"
    script += f"""
set bars 0
set xrange [{low}:{high}]
set yrange [0.5:{len(rows)}.5]
set xlabel {quoted(f"{metric.unit} ({direction}, logarithmic)")} textcolor "#5b6670"
plot {", ".join(plots)}
"""
    return chart_key(adapters) + gnuplot(script, name)


def charts_of_topic(topic, rows):
    by_metric = collections.defaultdict(list)
    for row in rows:
        by_metric[row.metric].append(row)
    return [
        topic_chart(some, f"{topic}-{number}") for number, some in enumerate(by_metric.values())
    ]


# ---- the page ----

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22313f; background: #f4f6f7; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 30px; margin: 8px 0 2px; } h2 { font-size: 20px; margin: 36px 0 8px; }
section, .card { background: #fff; border: 1px solid #e0e5e8; border-radius: 10px;
  padding: 14px 20px 18px; margin: 16px 0; overflow-x: auto; }
section h2 { margin-top: 4px; }
svg { width: 100%; height: auto; display: block; margin: 8px 0; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th { text-align: left; font-weight: 600; color: #5b6670; border-bottom: 2px solid #e0e5e8; }
th, td { padding: 3px 6px; white-space: nowrap; } tr + tr td { border-top: 1px solid #eef1f3; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.ok { color: #2c7a48; font-weight: 600; } .short, .failed { color: #c0392b; font-weight: 600; }
.meta td:first-child { color: #5b6670; width: 8em; } .meta td { white-space: normal; }
.key { margin: 10px 0 0; text-align: center; } .key span { margin: 0 9px; white-space: nowrap; }
.note { color: #5b6670; } dt { font-weight: 600; margin-top: 8px; } dd { margin: 0; color: #5b6670; }
details { margin-top: 10px; } summary { cursor: pointer; color: #2e86ab; }
pre { font-size: 12px; overflow-x: auto; }
"""

HOW_TO_READ = """
A ratio above 1 means that thrum is faster (fairer, smaller) than what it is compared with, whichever
way the unit runs. Every figure is the median of the rounds; in each round every workload runs in a
process of its own, in which the libraries take their turns in random order. <em>floor</em> rows are
the least that the machine or the kernel lets anyone pay, written by hand without safety or features;
they count as the best peer only where there is no library to compare with. Bars are green where a
target is met, red where it is missed, grey where there is none. In the place of raw pthreads a server
has a loop of epoll written by hand, which is named.
"""


def meta_table(about):
    lines = "".join(
        f"<tr><td>{html.escape(key)}</td><td>{html.escape(value)}</td></tr>"
        for key, value in about.items()
    )
    return f'<table class="meta">{lines}</table>'


def summary_table(rows, targets):
    numeric = {2, 3, 4, 6}

    def cells(tag, line, verdict=""):
        out = ""
        for i, cell in enumerate(line):
            kind = "n" if i in numeric else verdict if i == 8 else ""
            out += f'<{tag} class="{kind}">{html.escape(cell)}</{tag}>'
        return f"<tr>{out}</tr>"

    body = "".join(
        cells("td", line, line[8].replace(" ", ""))
        for line in (results.table_line(r, targets, rows) for r in rows)
    )
    notes = "<br>".join(html.escape(note) for note in results.legend(rows))
    return f'<table>{cells("th", results.COLUMNS)}{body}</table><p class="note">{notes}</p>'


def all_figures(rows):
    """Every adapter's median, and how far thrum's rounds lay apart."""
    adapters = adapters_of(rows)
    letters = {a: row.letters(a) for row in rows for a in row.marks}
    head = "".join(
        f'<th class="n">{html.escape(a)}<sup>{letters.get(a, "")}</sup></th>' for a in adapters
    )
    body = ""
    for row in rows:
        spread = row.spread()
        cells = "".join(
            f'<td class="n">{results.figure(row.value(adapter))}</td>' for adapter in adapters
        )
        body += (
            f"<tr><td>{html.escape(row.workload)}</td><td>{row.metric.unit}</td>{cells}"
            f'<td class="n">{"-" if spread is None else f"{100 * spread:.0f} %"}</td></tr>'
        )
    notes = "<br>".join(html.escape(note) for note in results.legend(rows))
    return (
        f'<table><tr><th>workload</th><th>unit</th>{head}<th class="n">spread of thrum</th></tr>'
        f'{body}</table><p class="note">{notes}</p>'
    )


def descriptions(rows):
    seen = {row.group.workload: row.about for row in rows}
    items = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(about)}</dd>" for name, about in seen.items()
    )
    return f"<details><summary>What was measured</summary><dl>{items}</dl></details>"


def topic_section(topic, rows, drawn):
    title = results.TOPICS.get(topic, (topic, []))[0]
    pictures = "".join(drawn(lambda: charts_of_topic(topic, rows)))
    return (
        f'<section id="{topic}"><h2>{html.escape(title)}</h2>'
        f"{pictures}{all_figures(rows)}{descriptions(rows)}</section>"
    )


def verdict_line(rows, targets):
    verdicts = [targets[row.workload].verdict(row, rows) for row in rows if row.workload in targets]
    verdicts = [verdict for verdict in verdicts if verdict != "not run"]
    if not verdicts:
        return "No workload with a target was run."
    return f"{verdicts.count('ok')} of {len(verdicts)} targets are met."


def failure_list(failures):
    if not failures:
        return ""
    items = "".join(f"<li>{html.escape(n)}: {html.escape(m)}</li>" for n, m in failures)
    return f'<div class="card failed">Failed<ul>{items}</ul></div>'


class Artist:
    """Draws while gnuplot can; remembers why it could not."""

    def __init__(self):
        self.note = "" if shutil.which("gnuplot") else "gnuplot is not installed: no charts."

    def __call__(self, draw):
        if self.note:
            return []
        try:
            return draw()
        except (RuntimeError, subprocess.SubprocessError) as error:
            self.note = f"gnuplot failed, some charts are missing: {error}"
            return []


def write_html(path, rows, targets, about, failures):
    by_topic = collections.defaultdict(list)
    for row in rows:
        by_topic[row.group.topic].append(row)
    drawn = Artist()
    overview = "".join(drawn(lambda: [overview_chart(rows, targets)]))
    sections = "".join(topic_section(topic, some, drawn) for topic, some in by_topic.items())
    data = html.escape(json.dumps(results.as_json(rows), indent=1))
    path.write_text(
        f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>thrum: benchmark</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>
<body><main>
<h1>thrum beside raw pthreads</h1>
<p class="note">{verdict_line(rows, targets)} {html.escape(drawn.note)}</p>
<div class="card">{meta_table(about)}</div>{failure_list(failures)}
<section><h2>thrum's advantage over raw pthreads</h2><p class="note">{HOW_TO_READ}</p>
{overview}</section>
<section><h2>All workloads</h2>{summary_table(rows, targets)}</section>
{sections}
<section><h2>Data</h2><details><summary>The same as JSON</summary><pre>{data}</pre></details></section>
</main></body></html>
""",
        encoding="utf-8",
    )
