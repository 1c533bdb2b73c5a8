"""What a scheduler and its nodes tell a visitor of a job, or of all computations, as keys and values in turn.

Used in the scheduler's loop.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from gdispy.errors import ConfigError
from gdispy.protocol import job_status
from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.limits import counted, printable, shortened
from gdispy.protocol.messages import Ended, Explain, Explained
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.shared_scheduler.client_proxy import ClientProxy
from gdispy.shared_scheduler.job_names import find, prefixes
from gdispy.shared_scheduler.node_questions import ANSWER_LIMIT, Answer

#: Most computations of one answer.
COMPUTATIONS = 200
#: Most facts that are taken from a node, and characters of each.
FACTS = 60
FACT_TEXT = 16 * 1024


def facts_of_all(rules: Dispatch, names: Mapping[ComputationId, tuple[str, str]], now: float) -> list[str]:
    """What the next job of each computation waits for."""
    facts: list[str] = []
    for number, computation in itertools.islice(rules.state.computations.items(), COMPUTATIONS):
        prefix, client = names[number]
        facts += ["computation", f"{prefix}: {printable(computation.name)}", "client", client or "?"]
        facts += _counts(computation)
        facts += rules.explain(number, JobId(0), now)
    others = len(rules.state.computations) - COMPUTATIONS
    return [*facts, "left out", counted(others, "other computation")] if others > 0 else facts


def _counts(computation: Computation) -> list[str]:
    waiting = computation.waiting
    return ["jobs", f"{waiting:,} waiting, {len(computation.tasks) - waiting:,} on nodes"]


class JobInquiry:
    """A question about one job. With a `node`, the facts are complete when that has answered `request`, or does not."""

    kind = Explained

    def __init__(self, rules: Dispatch, clients: Iterable[ClientProxy], name: str, now: float) -> None:
        self.error = ""
        #: The node that is to be asked.
        self.node: NodeRecord | None = None
        self._head: list[str] = []
        self._state = ""
        self._facts: list[str] = []
        self._of_node: list[str] = []
        try:
            self._computation, self._job = find(name, rules.state.computations)
            self._look(rules, list(clients), now)
        except ConfigError as error:
            self.error = str(error)

    def _look(self, rules: Dispatch, clients: list[ClientProxy], now: float) -> None:
        computation = rules.state.computations[self._computation]
        proxy = next((each for each in clients if each.mailbox.peer == computation.client), None)
        prefix = prefixes(rules.state.computations)[self._computation]
        name = (proxy.mailbox.name if proxy is not None else "") or "?"
        is_away = proxy is None or proxy.connection is None
        self._head = ["job", f"{prefix}:{self._job}"] if self._job else []
        self._head += ["computation", f"{prefix}: {printable(computation.name)}"]
        self._head += ["client", f"{name}{', away' if is_away else ''}"]
        if not self._job:
            self._facts = [*_counts(computation), *rules.explain(self._computation, self._job, now)]
            return
        task = computation.tasks.get(self._job)
        if task is None:
            self._look_at_outcome(proxy, prefix)
            return
        self._facts = rules.explain(self._computation, self._job, now)
        self._state = "cancelled, not ended yet" if task.cancelled else "waiting" if task.node is None else "on a node"
        if task.node is not None and task.node.peer is not None and not task.node.silent:
            self.node = task.node
            self._of_node = ["problem", f"the node has not answered within {ANSWER_LIMIT:g} s"]

    def _look_at_outcome(self, proxy: ClientProxy | None, prefix: str) -> None:
        outcome = proxy.mailbox.outcome(self._computation, self._job) if proxy is not None else None
        if outcome is None:
            known = "it has ended and its client has its result, or it was never submitted"
            raise ConfigError(f"computation {prefix} has no job {self._job} any more, or not yet: {known}")
        self._state = "ended; its client has not taken the result yet"
        self._facts = _ending(*outcome)

    def request(self, node: NodeRecord, number: int) -> Explain:
        """The question to the node."""
        return Explain(self._computation, number, self._job, True)

    def take(self, node: NodeRecord, answer: Answer) -> None:
        """The node has answered."""
        assert isinstance(answer, Explained)
        facts = [shortened(each, FACT_TEXT) for each in answer.facts[:FACTS]]
        self._of_node = facts[: len(facts) // 2 * 2]
        if self._of_node[:1] == ["running for"] and self._state == "on a node":
            self._state = "running"

    def facts(self) -> list[str]:
        """Keys and values in turn."""
        state = ["state", self._state] if self._state else []
        return [*self._head, *state, *self._facts, *self._of_node]


def _ending(ended: Ended, place: int) -> list[str]:
    """How a job has ended."""
    facts = ["status", job_status.NAMES[ended.statuses[place]]]
    if ended.address:
        facts += ["node", ended.address]
    if ended.ends[place] > ended.starts[place] > 0:
        facts += ["took", f"{ended.ends[place] - ended.starts[place]:.3f} s"]
    error = ended.exceptions[place].strip()
    return [*facts, "error", shortened(error, FACT_TEXT)] if error else facts
