"""What notebooks show of clusters, executors, jobs, statuses and results of maps: static HTML.

Runs in the user's thread. Nothing here waits for a node: what is shown is known already.

Invariant: all text is escaped, since names of nodes, arguments and output are those of others.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gdispy.client.tables import count
from gdispy.protocol import job_status
from gdispy.protocol.limits import printable_lines, shortened

if TYPE_CHECKING:
    from gdispy.client.cluster import JobCluster
    from gdispy.client.job import DispyJob
    from gdispy.client.status import ClusterStatus, DispyNode

#: Rows of a table, and characters of a text.
ROWS = 10
TEXT_LIMIT = 2000
_NODE_COLUMNS = ("node", "address", "CPUs", "busy", "jobs done", "job time (s)")


def cluster_line(cluster: JobCluster, name: str, state: str) -> str:
    """A cluster in one line: its state and counts."""
    nodes, counts = list(cluster._engine.nodes.ready().values()), cluster._count
    cpus = sum(node.cpus for node in nodes)
    where = f"{count(len(nodes), 'node')} with {count(cpus, 'CPU')}"
    parts = [state, "in this process" if cluster._settings.is_inline else where, f"{counts.pending:,} pending"]
    parts += [f"{counts.ended:,} ended", *([f"{counts.failed:,} failed"] if counts.failed else [])]
    return f"{name}: {', '.join(parts)}"


def cluster_html(cluster: JobCluster, line: str) -> str:
    """A cluster with its problems and its nodes."""
    problems: list[str] = []
    if not cluster._closed:
        problems = cluster.status().problems
    return view(line, problems, _NODE_COLUMNS, node_rows(cluster._engine.nodes.ready().values()))


def status_html(status: ClusterStatus) -> str:
    return view(repr(status), status.problems, _NODE_COLUMNS, node_rows(status.nodes))


def job_html(job: DispyJob) -> str:
    """A job with its times, its error and the end of its output."""
    rows: list[Sequence[object]] = [("arguments", job._shown_call() or "not known")]
    if job.ip_addr:
        rows.append(("node", job.ip_addr))
    if job.start_time and job.end_time:
        rows.append(("run time", f"{job.end_time - job.start_time:.3f} s"))
    for name in ("stdout", "stderr"):
        printed = getattr(job, name)
        if printed:
            text = printed if isinstance(printed, str) else bytes(printed[:TEXT_LIMIT]).decode("utf-8", "replace")
            rows.append((name, shortened(text, TEXT_LIMIT)))
    if job._done and job.status == job_status.FINISHED:
        rows.append(("result", shortened(repr(job.result), TEXT_LIMIT)))
    error = job.exception if job._done else None
    return view(repr(job)[1:-1], [shortened(error, TEXT_LIMIT)] if error else [], ("", ""), rows)


def node_rows(nodes: Iterable[DispyNode]) -> list[Sequence[object]]:
    found = sorted(nodes, key=lambda node: (node.name, node.ip_addr, node.port or 0))
    return [
        (node.name, f"{node.ip_addr}:{node.port}", node.cpus, node.busy, f"{node.jobs_done:,}", f"{node.cpu_time:,.1f}")
        for node in found
    ]


def view(line: str, problems: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A line, problems below it, and a table."""
    parts = [f"<div><strong>{_text(line)}</strong>"]
    parts += [f'<pre style="color:#b00020;margin:0">{_text(problem)}</pre>' for problem in problems[:ROWS]]
    if rows:
        head = "".join(f"<th>{_text(each)}</th>" for each in columns) if any(columns) else ""
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows[:ROWS])
        parts.append(f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>")
        if len(rows) > ROWS:
            parts.append(f"<div>and {len(rows) - ROWS:,} more</div>")
    return "".join([*parts, "</div>"])


def _cell(value: object) -> str:
    return f'<td style="text-align:left"><pre style="margin:0">{_text(value)}</pre></td>'


def _text(value: object) -> str:
    return html.escape(printable_lines(str(value)))
