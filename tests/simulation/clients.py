"""Simulated clients: the real `ClientSession`, driven as `client/cluster.py` does it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.messages import Message, NodeCommand, Open, Prepare, StatusRequest, UseNode, Withdraw
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import JobOptions
from gdispy.rules.client.effects import (
    Answer,
    ChooseNode,
    ComputationClosed,
    JobsStarted,
    LateResult,
    NodeEvent,
    Notify,
    ProvisionalResult,
    Resolve,
)
from gdispy.rules.client.session import ClientSession
from gdispy.rules.effects import Effects, Send
from tests.simulation.book import Book
from tests.simulation.links import Parcel, next_peer
from tests.simulation.processes import Plan
from tests.simulation.scheduler import Scheduler
from tests.simulation.timeline import Broken, JobKey, Timeline, Turns


class Client:
    """One client with its one computation."""

    def __init__(
        self, timeline: Timeline, random: Random, book: Book, scheduler: Scheduler, place: int, is_reentrant: bool
    ) -> None:
        self._timeline = timeline
        self._random = random
        self._book = book
        self._scheduler = scheduler
        self.place = place
        self.is_reentrant = is_reentrant
        #: Whether a journal is kept of it.
        self.is_kept = False
        #: CPUs that every node has.
        self.widest = 1
        #: CPUs of a node that it uses at most; 0: all.
        self.takes = 0
        #: The node that can always run its jobs, as far as there is one now.
        self.pin: Callable[[], Instance | None] | None = None
        self._pinning = Random(f"pinning {place} {book.seed}")
        # In some worlds only, so that the others are as they were without withdrawals.
        has_withdrawals = Random(f"withdrawals {book.seed}").random() < 0.3
        self._withdrawing = Random(f"withdrawing {place} {book.seed}")
        self._withdrawals = self._withdrawing.choice((0, 2, 8)) if has_withdrawals else 0
        self.computation = ComputationId(b"%08d" % place)
        self.peer = next_peer()
        self._to_scheduler = next_peer()
        self.session = ClientSession(self.computation, self._to_scheduler)
        self._turns = Turns(timeline, random, self.session, self._perform)
        self._made = 0
        self._asked = self._answered = 0
        #: It has all nodes to itself, when those before it are over.
        self.is_exclusive = False
        self.is_open = self.is_released = False
        #: It was released while jobs had not ended.
        self.is_hasty = False
        self._closed = 0
        scheduler.attach(self.peer, self._deliver)

    def open(self, nodes: list[str]) -> None:
        isolation = "job" if self._random.random() < 0.25 else ""
        body: Bulk = Parcel(b"body") if self._random.random() < 0.4 else b"body"
        if self.takes:
            self._book.limits[self.computation] = self.takes
        self._scheduler.from_client(self.peer, self._opened(nodes))
        self.is_open = True
        about = (self.computation, "f", "function", isolation, "", "", True)
        prepare = Prepare(*about, body, [], [], token=self._token, epoch=1)
        self._scheduler.from_client(self.peer, prepare)

    @property
    def _token(self) -> bytes:
        return b"t" * 16 if self.is_kept else b""

    def _opened(self, nodes: list[str]) -> Open:
        asks = bool(self.takes)
        return Open(self.computation, nodes, self.is_reentrant, asks, False, self.is_exclusive, self._token, 1)

    # What users do

    def want(self, nodes: list[str]) -> None:
        """Want other nodes than before."""
        if self.is_open and not self.is_released:
            self._scheduler.from_client(self.peer, self._opened(nodes))

    def submit(self, plans: list[Plan]) -> None:
        if self.is_released:
            return
        jobs: list[JobId] = []
        for plan in plans:
            self._made += 1
            jobs.append(JobId(self._made))
            self._book.submitted((self.place, self._made), plan, self.is_reentrant)
        arguments: list[Bulk] = [Parcel(b"") if plan.is_bulky else b"" for plan in plans]
        options: list[JobOptions | None] = [self._wishes() for _ in plans] if self._random.random() < 0.3 else []
        if self._pinning.random() < 0.2:
            options = [self._pinned(each) for each in options or [None] * len(plans)]
            for job, wishes in zip(jobs, options, strict=True):
                self._book.entries[self.place, job].pinned = wishes.node if wishes is not None else b""
        self._turns.put(self._submit, jobs, arguments, options)
        for _ in range(self._withdrawing.randint(0, self._withdrawals)):
            self._timeline.after(self._withdrawing.random() ** 4, self.withdraw_some)

    def _pinned(self, wishes: JobOptions | None) -> JobOptions | None:
        """What a job asks for, and some of them for the one node that can always run it."""
        if self.pin is None or self._pinning.random() < 0.5:
            return wishes
        return (wishes or JobOptions())._replace(node=self.pin() or b"")

    def _wishes(self) -> JobOptions | None:
        """What a job asks for: nothing, or some priority and CPUs, sometimes with files of its own."""
        if self._random.random() < 0.5:
            return None
        files = [["f", 0o600, 0.0, 6, b""]] if self._random.random() < 0.3 else []
        contents: list[Bulk] = [Parcel(b"parcel") for _ in files]
        return JobOptions(
            b"",
            float(self._random.randint(-1, 1)),
            0.0,
            self._random.choice([0, 0, 1, min(self.widest, self.takes or self.widest)]),
            0,
            b"",
            files,
            contents,
        )

    def cancel(self, jobs: list[JobId]) -> None:
        for job in jobs:
            self._book.cancelled((self.place, job))
        self._turns.put(self._cancel, jobs)

    def cancel_some(self) -> None:
        jobs = self.open_jobs()
        if jobs:
            self.cancel(self._random.sample(jobs, self._random.randint(1, min(5, len(jobs)))))

    def withdraw_some(self) -> None:
        """Want some jobs ended if they have not begun; sometimes all, as at the end of a program."""
        jobs = self.open_jobs()
        if not jobs or self.is_released:
            return
        if self._withdrawing.random() < 0.7:
            jobs = self._withdrawing.sample(jobs, self._withdrawing.randint(1, min(5, len(jobs))))
        for job in jobs:
            self._book.withdrawn((self.place, job))
        self._asked += 1
        self._turns.put(self._withdraw, jobs, self._asked)

    def cancel_hanging(self) -> None:
        """Cancel what would never end by itself."""
        self.cancel([job for job in self.open_jobs() if self._entry(job).plan.hangs])

    def ask(self) -> None:
        if not self._closed:
            self._asked += 1
            self._scheduler.from_client(self.peer, StatusRequest(self.computation, self._asked))

    def order(self, node: Instance, word: str, value: float) -> None:
        """Tell the scheduler how to use a node."""
        if not self._closed:
            self._asked += 1
            self._scheduler.from_client(self.peer, NodeCommand(self.computation, self._asked, word, node, value))

    def release(self, is_hasty: bool = False) -> None:
        if self.is_released:
            return
        if is_hasty:
            self.cancel(self.open_jobs())
        self.is_hasty = bool(self.open_jobs())
        self.is_released = True
        self._turns.put(self._release)

    def open_jobs(self) -> list[JobId]:
        """Jobs that have not ended."""
        return [JobId(job) for job in range(1, self._made + 1) if self._entry(job).status is None]

    def _entry(self, job: int) -> Any:
        key: JobKey = (self.place, job)
        return self._book.entries[key]

    # Turns

    def _submit(self, jobs: list[JobId], arguments: list[Bulk], options: list[Any], now: float) -> Effects:
        return self.session.submit(jobs, arguments, options)

    def _cancel(self, jobs: list[JobId], now: float) -> Effects:
        return self.session.cancel(jobs)

    def _withdraw(self, jobs: list[JobId], question: int, now: float) -> Effects:
        return [Send(self._to_scheduler, Withdraw(self.computation, question, jobs))]

    def _release(self, now: float) -> Effects:
        self._timeline.note(None, f"client {self.place} releases its computation")
        return self.session.release()

    def _receive(self, messages: list[Message], now: float) -> Effects:
        return self.session.receive(messages)

    def _deliver(self, messages: list[Message]) -> None:
        self._turns.put(self._receive, messages)

    def _perform(self, effect: Any) -> None:
        if isinstance(effect, Send):
            self._scheduler.from_client(self.peer, effect.message)
        elif isinstance(effect, Resolve):
            for place in range(len(effect.ended.jobs)) if effect.picks is None else effect.picks:
                self._book.resolved(effect.ended, place)
        elif isinstance(effect, ProvisionalResult):
            self._book.provided(effect.progress)
        elif isinstance(effect, JobsStarted):
            self._book.started(effect.started)
        elif isinstance(effect, Answer):
            self._answered += 1
        elif isinstance(effect, ChooseNode):
            answer = (effect.appeared.node, self.takes, b"", [], [])
            self._scheduler.from_client(self.peer, UseNode(self.computation, *answer))
        elif isinstance(effect, ComputationClosed):
            self._closed += 1
        elif not isinstance(effect, Notify | NodeEvent | LateResult):
            raise Broken(f"a client is asked for {effect}")

    # What is left

    def check_idle(self) -> None:
        if self._answered != self._asked:
            raise Broken(f"client {self.place} has {self._answered} answers to {self._asked} questions")
        if not self.is_hasty and (self.session._open or self.session._shown):
            raise Broken(f"the session of client {self.place} still waits")

    def check_closed(self) -> None:
        if self._closed != 1:
            raise Broken(f"client {self.place} was told {self._closed} times that nothing is left")
