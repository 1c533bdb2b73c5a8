"""Questions of visitors that need the nodes: which jobs run, what a job does, what was logged.

Used in the scheduler's loop. A visitor is any peer with the secret of clients; it may ask about the jobs of all.
Invariants: each question is answered once; of one connection `OPEN_LIMIT` questions are open at most, of all
`ALL_LIMIT`; an answer has a bounded size, whatever nodes send.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from gdispy.errors import ProtocolError
from gdispy.protocol.ids import ComputationId, Instance, Peer
from gdispy.protocol.messages import JobFacts, JobFactsRequest, LogEvents, LogRequest, Message, RunningJobs
from gdispy.protocol.messages import RunningJobsRequest as JobsRequest
from gdispy.rules.effects import Effects
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.runtime.log_buffer import LogBuffer
from gdispy.shared_scheduler.client_proxy import ClientProxy
from gdispy.shared_scheduler.job_facts import JobInquiry, facts_of_all
from gdispy.shared_scheduler.job_names import prefixes
from gdispy.shared_scheduler.log_collection import LogCollection
from gdispy.shared_scheduler.node_questions import NodeQuestions, absences
from gdispy.shared_scheduler.running_jobs import JobCollection
from gdispy.transport.connection import Connection

#: Questions that are not answered yet: of one connection, and of all.
OPEN_LIMIT = 4
ALL_LIMIT = 32

_BUSY = "the scheduler has too many such questions at present; ask again"


class Inquiries:
    """The questions of all visitors."""

    def __init__(self, rules: Dispatch, clients: Mapping[Instance, ClientProxy], log: LogBuffer, run: Instance) -> None:
        """`log` is that of the scheduler, `run` identifies its run."""
        self._rules, self._clients, self._log, self._run = rules, clients, log, run
        self.nodes = NodeQuestions()
        self._open: Counter[Peer] = Counter()

    def take(self, connection: Connection, message: Message, now: float) -> Effects | None:
        """Handle a question; None for other messages. Raises ProtocolError for too many from one connection."""
        handler = self._HANDLERS.get(type(message))
        if handler is None:
            return None
        if self._open[connection.peer] >= OPEN_LIMIT:
            raise ProtocolError(f"more than {OPEN_LIMIT} questions of one connection are not answered yet")
        self._open[connection.peer] += 1

        def answer(found: Message) -> None:
            self._note_answer(connection.peer)
            connection.answer(found)

        try:
            return handler(self, message, answer, now)
        except Exception:
            self._note_answer(connection.peer)
            raise

    def _note_answer(self, peer: Peer) -> None:
        self._open[peer] -= 1
        if self._open[peer] <= 0:
            del self._open[peer]

    def _on_running_jobs(self, message: JobsRequest, answer: Callable[[Message], None], now: float) -> Effects:
        if len(self.nodes) >= ALL_LIMIT:
            answer(RunningJobs(message.question, [], 0, [_BUSY]))
            return []
        nodes = list(self._rules.state.nodes.values())
        jobs = JobCollection(self._rules.state.computations, self._names(), message.limit)

        def end(unanswered: list[Any]) -> None:
            answer(RunningJobs(message.question, jobs.rows, jobs.left_out, absences(nodes, unanswered)))

        return self.nodes.ask(nodes, lambda node, number: JobsRequest(number, jobs.limit), RunningJobs, jobs.take, end)

    def _on_job_facts(self, message: JobFactsRequest, answer: Callable[[Message], None], now: float) -> Effects:
        if not message.job:
            answer(JobFacts(message.question, "", facts_of_all(self._rules, self._names(), now)))
            return []
        if len(self.nodes) >= ALL_LIMIT:
            answer(JobFacts(message.question, _BUSY, []))
            return []
        inquiry = JobInquiry(self._rules, self._clients.values(), message.job, now)
        if inquiry.node is None:
            answer(JobFacts(message.question, inquiry.error, inquiry.facts()))
            return []

        def end(unanswered: list[Any]) -> None:
            answer(JobFacts(message.question, "", inquiry.facts()))

        return self.nodes.ask([inquiry.node], inquiry.request, inquiry.kind, inquiry.take, end)

    def _on_log(self, message: LogRequest, answer: Callable[[Message], None], now: float) -> Effects:
        if len(self.nodes) >= ALL_LIMIT:
            answer(LogEvents(message.question, _BUSY, [], 0))
            return []
        logs = LogCollection(message, list(self._rules.state.nodes.values()))
        if logs.error:
            answer(LogEvents(message.question, logs.error, [], 0))
            return []

        def end(unanswered: list[Any]) -> None:
            if not message.node:
                logs.take_own(self._log, self._run)
            problems = absences(logs.nodes, unanswered)
            answer(LogEvents(message.question, "", logs.rows, logs.left_out, problems))

        return self.nodes.ask(logs.nodes, logs.request, LogEvents, logs.take, end)

    def _names(self) -> dict[ComputationId, tuple[str, str]]:
        """The prefix of each computation, and the name of its client."""
        clients = {proxy.mailbox.peer: proxy.mailbox.name for proxy in self._clients.values()}
        computations = self._rules.state.computations
        found = prefixes(computations)
        return {number: (found[number], clients.get(each.client, "")) for number, each in computations.items()}

    _HANDLERS: dict[type[Message], Callable[..., Effects]] = {
        JobsRequest: _on_running_jobs,
        JobFactsRequest: _on_job_facts,
        LogRequest: _on_log,
    }
