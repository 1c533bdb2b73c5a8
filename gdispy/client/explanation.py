"""Why a job waits, or what it does: `job.explain()`, `job.stack()`, `cluster.explain()`.

Runs in the user's thread. What the job itself knows comes first, then what the scheduler knows, then what the node
sees.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gdispy.errors import ConfigError
from gdispy.protocol import job_status
from gdispy.protocol.ids import JobId
from gdispy.protocol.limits import printable_lines
from gdispy.protocol.messages import Explain, Explained

if TYPE_CHECKING:
    from gdispy.client.engine import ClusterEngine
    from gdispy.client.job import DispyJob

#: Seconds that the scheduler, and then the node, have to answer.
ANSWER_LIMIT = 5.0


class Explanation:
    """Facts about a job or a cluster; `str()` and `print` show them in lines.

    `facts` is a list of pairs of texts, in the order in which they are shown; a key may occur several times.
    """

    def __init__(self, facts: list[tuple[str, str]]) -> None:
        self.facts = facts

    def get(self, key: str) -> str:
        """The value of a fact, '' if there is none with this key."""
        return next((value for name, value in self.facts if name == key), "")

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.facts)

    def __str__(self) -> str:
        width = max((len(name) for name, _ in self.facts), default=0)
        return "\n".join(_shown(name, value, width) for name, value in self.facts)

    __repr__ = __str__


def _shown(name: str, value: str, width: int) -> str:
    first, *more = value.split("\n")
    return "\n".join([f"{name + ':':{width + 1}} {first}", *(" " * (width + 2) + line for line in more)])


def explain_job(job: DispyJob) -> Explanation:
    """Why a job waits, what it does, or how it has ended."""
    facts = [("job", str(job.id)), ("state", job.status_name), *_times(job)]
    if job._done:
        if job.exception:
            facts.append(("error", job.exception.strip()))
        return Explanation(facts)
    engine = _engine(job)
    number = JobId(job._number)
    found = ask(engine, number, of_node=False)
    facts += found
    if any(name == "node" for name, _ in found):
        facts += ask(engine, number, of_node=True) or [("problem", "the node has not answered in time")]
    return Explanation(facts)


def stack_of(job: DispyJob) -> str:
    """The Python stacks of a running job. Raises ConfigError if it does not run, or has none."""
    engine = _engine(job)
    if job._done or job.status not in (job_status.CREATED, job_status.RUNNING, job_status.PROVISIONAL_RESULT):
        raise ConfigError(f"job {job.id!r} does not run: {job.status_name}")
    found = dict(ask(engine, JobId(job._number), of_node=True))
    if "stack" not in found:
        where = (
            found.get("no stack") or found.get("on the node") or "it is not on a node that answers; see job.explain()"
        )
        raise ConfigError(f"job {job.id!r} has no Python stack at present: {where}")
    return found["stack"]


def explain_cluster(engine: ClusterEngine, lines: list[str]) -> Explanation:
    """Why the next job of a cluster waits; `lines` are the known problems."""
    count = engine.count
    facts = [("jobs", f"{count.pending:,} pending, {count.ended:,} ended, {count.failed:,} of them failed")]
    facts += [("problem", line) for line in lines]
    return Explanation(facts + ask(engine, JobId(0), of_node=False))


def ask(engine: ClusterEngine, job: JobId, of_node: bool) -> list[tuple[str, str]]:
    """What the scheduler, or the node, tells of a job; [] if it does not answer."""
    answer = engine.question(lambda number: Explain(engine.computation, number, job, of_node), ANSWER_LIMIT)
    if not isinstance(answer, Explained):
        return []
    texts = [printable_lines(text) for text in answer.facts]
    return list(zip(texts[::2], texts[1::2], strict=False))


def _engine(job: DispyJob) -> ClusterEngine:
    engine = job._source.engine() if job._source is not None else None
    if engine is None:
        raise ConfigError(f"nothing is known of job {job.id!r}: its cluster does not exist in this process any more")
    engine.refuse_fork()
    return engine


def _times(job: DispyJob) -> list[tuple[str, str]]:
    """Times by the clocks of this machine and, for start and end, of the node."""
    facts = [("submitted", _ago(job.submit_time))] if job.submit_time else []
    if job.start_time:
        facts.append(("started", f"{_ago(job.start_time)}, on {job.ip_addr}"))
    if job.end_time and job.start_time:
        facts.append(("ended", f"{_ago(job.end_time)}, after {job.end_time - job.start_time:.3f} s"))
    return facts


def _ago(moment: float) -> str:
    shown = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    return f"{shown} ({max(0.0, time.time() - moment):.1f} s ago)"
