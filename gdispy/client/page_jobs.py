"""What a page remembers of the jobs of one cluster: those that run, and those that have ended.

Runs in the hub. It is attached to a `JobTable` while a page shows the cluster; without a page it does not exist.

Invariants:
1. Memory is bounded: an entry for each job that runs, and what `EndedJobs` keeps.
2. No code of the user runs here: arguments stay pickled, and an id is shown only if it is of a plain type.
"""

from __future__ import annotations

from typing import Any

from gdispy.client.job import DispyJob
from gdispy.client.node_table import NodeTable
from gdispy.protocol.ids import JobId
from gdispy.protocol.limits import shortened
from gdispy.protocol.messages import Ended, Started
from gdispy.web.ended_jobs import EndedJobs, Origin

#: Characters of an id.
ID_LIMIT = 80


class PageJobs:
    """The jobs of one cluster, as `JobTable` reports them."""

    def __init__(self, jobs: dict[JobId, DispyJob], nodes: NodeTable, name: str) -> None:
        self._jobs, self._nodes, self._origin = jobs, nodes, Origin(name)
        #: The nodes of the running jobs, in the order in which they have started; b"" if it is not known.
        self.running: dict[JobId, bytes] = {}
        self.past = EndedJobs(self._node_of)
        for number, job in jobs.items():  # Once: those that have started before the page.
            if job.start_time is not None:
                self.running[number] = b""

    def started_jobs(self, started: Started) -> None:
        for number in started.jobs:
            if number in self._jobs:
                self.running[number] = started.node

    def lost_node(self, node: bytes) -> None:
        for number in [number for number, place in self.running.items() if place == node]:
            del self.running[number]

    def ended_jobs(self, ended: Ended, picks: list[int] | None) -> None:
        for number in ended.jobs if picks is None else [ended.jobs[each] for each in picks]:
            self.running.pop(number, None)
        self.past.note(ended, picks, self._origin, self._about)

    def _node_of(self, node: bytes) -> tuple[str, int | None] | None:
        known = self._nodes.get(node)
        return (known.name, known.port) if known is not None else None

    def _about(self, number: JobId) -> tuple[str, bytes]:
        job = self._jobs.get(number)
        if job is None:
            return str(number), b""
        arguments = job._arguments
        return shown_id(job.id), arguments if type(arguments) is bytes else b""


def shown_id(value: Any) -> str:
    """An id of a job as text, without code of its class."""
    if type(value) is str:
        return shortened(value, ID_LIMIT)
    if value is None or type(value) in (float, bool) or (type(value) is int and value.bit_length() < 256):
        return shortened(repr(value), ID_LIMIT)
    if type(value) in (tuple, list) and len(value) <= 8:
        return shortened(f"({', '.join(shown_id(each) for each in value)})", ID_LIMIT)
    return f"<{type(value).__name__}>"
