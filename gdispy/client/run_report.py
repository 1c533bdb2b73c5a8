"""Reports of runs: a page that needs nothing else, data in JSON, and a trace for chrome://tracing and Perfetto.

Runs in the thread of the user, and in `gdispy report`. Files are written under another name first, so a report is
complete or is not there. All text in the page is escaped: names of nodes and errors are those of others.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from gdispy.client.run_record import JobRecord
from gdispy.client.run_summary import BINS, Distribution, Lanes, NodeFigures, RunSummary, summarize
from gdispy.client.tables import count
from gdispy.errors import ConfigError
from gdispy.protocol import job_status
from gdispy.protocol.limits import printable_lines

if TYPE_CHECKING:
    from gdispy.client.run_record import RunRecord

#: The nodes whose timelines are drawn.
TIMELINES = 64

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #2a7ab8; --bad: #c0392b; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, td.text { text-align: left; }
td.text { white-space: pre-wrap; overflow-wrap: anywhere; }
svg { width: 100%; height: 1.4rem; background: var(--line); display: block; }
svg rect { fill: var(--bar); }
.timeline { display: grid; grid-template-columns: 12rem 1fr; gap: .2rem .8rem; align-items: center; }
.timeline span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
@media (max-width: 40rem) { .timeline { grid-template-columns: 1fr; } }
.bad { color: var(--bad); }
"""


def write_report(path: object, name: str, record: RunRecord) -> None:
    """Write a report of a cluster, in the form that the ending of the path tells. Raises ConfigError, OSError."""
    write(path, name, record.rows, record.left_out)


def write(
    path: object, name: str, records: Callable[[], Iterator[JobRecord]], left_out: int = 0, warning: str = ""
) -> None:
    """Write a report of these records; `left_out` is the number of jobs without one, and `warning` why others may be
    missing."""
    goal = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    if not isinstance(goal, str) or not goal.endswith((".html", ".json")):
        raise ConfigError(f"a report is a file that ends with .html, .json or .trace.json, not {path!r}")
    with _written(goal) as file:
        if goal.endswith(".trace.json"):
            _write_trace(file, name, summarize(name, records).begin, records())
        elif goal.endswith(".json"):
            json.dump(as_json(summarize(name, records, left_out, warning)), file, indent=2)
        else:
            file.writelines(_page(summarize(name, records, left_out, warning)))


@contextlib.contextmanager
def _written(path: str) -> Iterator[TextIO]:
    """A file that gets this name when it is complete."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ConfigError(f"the report cannot be written: there is no directory {folder}")
    fd, draft = tempfile.mkstemp(prefix=".gdispy-report-", dir=folder)
    try:
        with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(draft, 0o666 & ~mask)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


# Data


def as_json(summary: RunSummary) -> dict[str, Any]:
    """The figures as JSON data. Times are seconds since the epoch, durations seconds."""
    return {
        "name": summary.name,
        "jobs": summary.jobs,
        "jobs_left_out": summary.left_out,
        "warning": summary.warning or None,
        "begin": summary.begin if summary.jobs else None,
        "end": summary.end if summary.jobs else None,
        "wall_time": summary.wall,
        "cpus_used": summary.lanes,
        "efficiency": summary.efficiency,
        "outcomes": dict(summary.outcomes.most_common()),
        "failures": dict(summary.reasons.most_common()),
        "waiting": _distribution(summary.waiting),
        "running": _distribution(summary.running),
        "nodes": {name: _node(node, summary) for name, node in summary.nodes.items()},
        "longest": [record._asdict() for record in summary.stragglers],
    }


def _distribution(found: Distribution) -> dict[str, float]:
    parts = {f"p{part}": found.percentile(part / 100) for part in (50, 90, 99)}
    return {"count": found.count, "total": found.total, "mean": found.mean, **parts, "max": found.most}


def _node(node: NodeFigures, summary: RunSummary) -> dict[str, Any]:
    return {
        "jobs": node.jobs,
        "failed": node.failed,
        "busy": node.busy,
        "cpus_used": node.lanes,
        "efficiency": _used(node, summary),
        "first": node.first,
        "last": node.last,
    }


def _used(node: NodeFigures, summary: RunSummary) -> float:
    available = node.lanes * summary.wall
    return min(1.0, node.busy / available) if available else 0.0


# The trace


def _write_trace(file: TextIO, name: str, first: float, records: Iterable[JobRecord]) -> None:
    """In the Trace Event Format of Chrome: a process for each node, a thread for each CPU that was used; times in
    microseconds since `first`, the first submission. Waiting jobs, and jobs and
    results on their way, are asynchronous."""
    file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
    places: dict[str, tuple[int, Lanes]] = {}
    separator = ""
    for record in records:
        if not record.has_run:
            continue
        node = record.node or "?"
        events: list[dict[str, Any]] = []
        if node not in places:
            places[node] = len(places) + 1, Lanes()
            events.append(_name("process_name", places[node][0], 0, node))
        process, lanes = places[node]
        # Whole microseconds, at least one: Perfetto leaves out jobs that overlap others by a rounding error, or that
        # begin where one without a duration begins.
        begin = _microseconds(record.started - first)
        end = max(begin + 1, _microseconds(record.ended - first))
        known = len(lanes)
        lane = lanes.place(begin, end)
        if lane == known:
            events.append(_name("thread_name", process, lane, f"CPU {lane}"))
        about = _about(record)
        shown = name if about["status"] == "Finished" else f"{name}: {about['status']}"
        run = {"ph": "X", "cat": "running", "name": shown, "ts": begin, "dur": end - begin}
        events.append({**run, "pid": process, "tid": lane, "args": about})
        sent = _microseconds(record.sent - first) if record.submitted <= record.sent < record.started else begin
        if record.submitted and record.submitted < record.started:
            events += _phase("waiting", record.job, _microseconds(record.submitted - first), sent)
        if sent < begin:
            events += _phase("sending", record.job, sent, begin)
        if record.received > record.ended:
            events += _phase("returning", record.job, end, max(end, _microseconds(record.received - first)))
        for event in events:
            file.write(f"{separator}{json.dumps(event)}")
            separator = ",\n"
    file.write("\n]}\n")


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


def _name(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _phase(name: str, job: int, begin: int, end: int) -> Iterator[dict[str, Any]]:
    """A phase in which a job occupies no CPU; many at a time."""
    common = {"cat": name, "name": name, "id": job, "pid": 0, "tid": 0}
    yield {**common, "ph": "b", "ts": begin}
    yield {**common, "ph": "e", "ts": end}


def _about(record: JobRecord) -> dict[str, Any]:
    """What is shown of a job."""
    about: dict[str, Any] = {"job": record.job, "status": job_status.NAMES.get(record.status, "?")}
    if record.error:
        about["error"] = record.error
    if record.submitted and record.submitted < record.started:
        about["waited"] = round(record.started - record.submitted, 6)
    if record.received > record.ended:
        about["returned_within"] = round(record.received - record.ended, 6)
    return about


# The page


def _page(summary: RunSummary) -> Iterator[str]:
    name = _escaped(summary.name)
    yield "<!doctype html>\n<html lang=en><meta charset=utf-8>"
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
    yield f"<title>{name}: report</title><style>{_STYLE}</style>\n<h1>{name}</h1>\n"
    yield f"<p>{_escaped(_headline(summary))}</p>\n"
    if summary.warning:
        yield f"<p class=bad>{_escaped(summary.warning)}</p>\n"
    if summary.left_out:
        yield f"<p class=bad>{count(summary.left_out, 'job')} could not be recorded and are missing here.</p>\n"
    if not summary.jobs:
        yield "<p>No job has ended.</p>\n"
        return
    yield from _table("Outcomes", ("outcome", "jobs"), [(text, f"{n:,}") for text, n in summary.outcomes.most_common()])
    if summary.reasons:
        rows = [(text, f"{n:,}") for text, n in summary.reasons.most_common()]
        yield from _table("Failures by reason", ("reason", "jobs"), rows)
    heads = ("", "median", "90 %", "99 %", "longest", "total")
    times = [_durations("waited for a CPU", summary.waiting), _durations("ran", summary.running)]
    yield from _table("Times", heads, times)
    yield from _timelines(summary)
    yield from _nodes(summary)
    yield from _stragglers(summary)


def _headline(summary: RunSummary) -> str:
    if not summary.jobs:
        return ""
    begin = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.begin))
    return (
        f"{count(summary.jobs, 'job')} in {seconds(summary.wall)} from {begin}, on {count(len(summary.nodes), 'node')} "
        f"with {count(summary.lanes, 'CPU')} in use: {summary.efficiency:.0%} of their time was spent in jobs."
    )


def _table(title: str, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield f"<h2>{_escaped(title)}</h2><table><tr>"
    yield "".join(f"<th scope=col>{_escaped(head)}</th>" for head in heads) + "</tr>\n"
    for first, *rest in rows:
        cells = "".join(f"<td>{_escaped(each)}</td>" for each in rest)
        yield f"<tr><td class=text>{_escaped(first)}</td>{cells}</tr>\n"
    yield "</table>\n"


def _durations(name: str, found: Distribution) -> tuple[str, ...]:
    values = [found.percentile(part) for part in (0.5, 0.9, 0.99)]
    return (name, *map(seconds, values), seconds(found.most), seconds(found.total))


def _timelines(summary: RunSummary) -> Iterator[str]:
    """For each node a bar whose darkness is the part of its CPUs that were busy."""
    yield "<h2>Use of the CPUs over time</h2><div class=timeline>\n"
    width = summary.wall / BINS
    for name, node in list(summary.nodes.items())[:TIMELINES]:
        available = width * node.lanes
        bars = "".join(
            f"<rect x='{place}' width='1' height='1' opacity='{min(1.0, busy / available):.2f}'/>"
            for place, busy in enumerate(node.bins)
            if available and busy > 0
        )
        label = _escaped(f"{name}: {_used(node, summary):.0%} busy")
        picture = f"<svg role=img aria-label='{label}' viewBox='0 0 {BINS} 1' preserveAspectRatio=none>"
        yield f"<span>{_escaped(name)}</span>{picture}<title>{label}</title>{bars}</svg>\n"
    yield "</div>\n"
    if len(summary.nodes) > TIMELINES:
        yield f"<p>{count(len(summary.nodes) - TIMELINES, 'further node')} not drawn.</p>\n"


def _nodes(summary: RunSummary) -> Iterator[str]:
    rows = [
        (name, f"{node.jobs:,}", f"{node.failed:,}", str(node.lanes), seconds(node.busy), f"{_used(node, summary):.0%}")
        for name, node in sorted(summary.nodes.items(), key=lambda pair: -pair[1].busy)
    ]
    yield from _table("Nodes", ("node", "jobs", "failed", "CPUs used", "job time", "efficiency"), rows)


def _stragglers(summary: RunSummary) -> Iterator[str]:
    rows = [
        (
            str(each.job),
            each.node or "?",
            seconds(each.ended - each.started),
            seconds(max(0.0, each.started - summary.begin)),
            job_status.NAMES.get(each.status, "?"),
        )
        for each in summary.stragglers
    ]
    yield from _table("Longest jobs", ("job", "node", "ran", "began after", "outcome"), rows)


def seconds(value: float) -> str:
    """A duration for people."""
    if value < 1:
        return f"{value * 1000:.1f} ms" if value >= 0.0001 else f"{value * 1e6:.0f} us"
    if value < 120:
        return f"{value:.2f} s"
    minutes, rest = divmod(int(value), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _escaped(text: str) -> str:
    """As HTML; control characters, and those that change the direction of text, as escape sequences."""
    return html.escape(printable_lines(text))
