"""Client, scheduler and node rules joined by connections that can be cut: what no one of them shows alone."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from gdispy.protocol.ids import JobId, Peer
from gdispy.protocol.job_status import CANCELLED, FINISHED
from gdispy.protocol.messages import Message, Open
from gdispy.rules.client.effects import ProvisionalResult, Resolve
from gdispy.rules.client.session import ClientSession
from gdispy.rules.effects import Send
from gdispy.rules.node.effects import AssignJobs, Load, RecallJobs, Unload
from gdispy.rules.node.node_rules import NodeRules
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.membership import LEASE
from gdispy.rules.scheduler.node_reports import NodeReports
from tests.unit.builders import C, checked, hello, outcome, prepare

CLIENT, SCHEDULER = Peer(1000), Peer(1001)


class Together:
    """One client, one scheduler and one node. What is sent over the connection waits in `to_node` and
    `to_scheduler` until `deliver`; `cut` loses it, as a broken connection does."""

    def __init__(self, cpus: int = 2, reentrant: bool = False) -> None:
        self.now = 0.0
        self.session = checked(ClientSession(C, SCHEDULER))
        self.dispatch = checked(Dispatch())
        self.node = checked(NodeRules(cpus))
        self._cpus = cpus
        self._connections = 0
        self.to_node: deque[Message] = deque()
        self.to_scheduler: deque[Message] = deque()
        #: Jobs in each worker's socket or running; the first may have begun.
        self.hands: dict[int, list[Any]] = {}
        self.shown: list[int] = []
        self.resolved: dict[int, int] = {}
        self.connect()
        self.act(self.dispatch.receive_from_client(CLIENT, [Open(C, ["*"], reentrant), prepare()], 0.0))
        self.deliver()

    @property
    def _peer(self) -> Peer:
        return Peer(self._connections)

    def connect(self) -> None:
        self._connections += 1
        word = hello(b"n" * 16, "node", self._cpus)
        self.act(self.node.joined(self._peer, hello(), self.now))
        self.act(self.dispatch.joined(self._peer, word, ["10.0.0.1"], 51348, self.now))
        self.deliver()

    def cut(self) -> None:
        self.to_node.clear()
        self.to_scheduler.clear()
        self.act(self.node.gone(self._peer, self.now))
        self.act(self.dispatch.gone(self._peer, self.now))

    def submit(self, *jobs: int) -> None:
        self.act(self.session.submit([JobId(job) for job in jobs], [b""] * len(jobs)))

    def deliver(self) -> None:
        while self.to_node or self.to_scheduler:
            if self.to_node:
                self.act(self.node.receive(self._peer, [self.to_node.popleft()], self.now))
            if self.to_scheduler:
                self.act(self.dispatch.receive(self._peer, [self.to_scheduler.popleft()], self.now))

    def answer(self, worker: int, progress: int = 0) -> None:
        """A worker ends its first job."""
        job = self.hands[worker].pop(0)
        row = outcome(job.number, job.attempt, start=self.now, end=self.now, progress=progress)
        self.act(self.node.answered(worker, [row], self.now))  # type: ignore[arg-type]

    def show(self, worker: int, index: int) -> None:
        job = self.hands[worker][0]
        value = b"%d" % index
        self.act(self.node.progressed(worker, job.number, job.attempt, index, value))  # type: ignore[arg-type]

    def act(self, effects: list[Any]) -> None:
        for each in effects:
            if isinstance(each, Send):
                self._send(each.peer, each.message)
            elif isinstance(each, Load):
                self.act(self.node.loaded(C, "", self.now))
            elif isinstance(each, Unload):
                self.act(self.node.unloaded(C, self.now))
            elif isinstance(each, AssignJobs):
                self.hands.setdefault(each.worker, []).extend(each.jobs)
            elif isinstance(each, RecallJobs):
                kept, taken = self.hands[each.worker][:1], self.hands[each.worker][1:]
                self.hands[each.worker] = kept
                numbers = [(job.number, job.attempt) for job in taken]
                self.act(self.node.took_back(each.worker, numbers, self.now))
            elif isinstance(each, ProvisionalResult):
                self.shown.append(each.progress.index)
            elif isinstance(each, Resolve):
                for place in range(len(each.ended.jobs)) if each.picks is None else each.picks:
                    assert each.ended.jobs[place] not in self.resolved
                    self.resolved[each.ended.jobs[place]] = each.ended.statuses[place]

    def _send(self, peer: Peer, message: Message) -> None:
        if peer == CLIENT:
            self.act(self.session.receive([message]))
        elif peer == SCHEDULER:
            self.act(self.dispatch.receive_from_client(CLIENT, [message], self.now))
        elif peer == self._peer:
            # Each side speaks of the connection by the same number here.
            kinds = NodeReports.HANDLERS
            (self.to_scheduler if type(message) in kinds else self.to_node).append(message)


def test_jobs_run_and_end() -> None:
    all_ = Together()
    all_.submit(1, 2, 3)
    all_.deliver()
    for worker in (1, 2, 1):
        all_.answer(worker)
        all_.deliver()
    assert all_.resolved == dict.fromkeys((1, 2, 3), FINISHED)


def test_jobs_that_were_lost_on_their_way_to_the_node_are_sent_again() -> None:
    all_ = Together()
    all_.submit(1, 2)
    all_.cut()
    all_.connect()
    assert {job.attempt for hand in all_.hands.values() for job in hand} == {2}
    all_.answer(1)
    all_.answer(2)
    all_.deliver()
    assert all_.resolved == dict.fromkeys((1, 2), FINISHED)


def test_outcome_that_was_lost_on_its_way_comes_again_and_is_told_once() -> None:
    # Given an outcome that is lost with the connection.
    all_ = Together()
    all_.submit(1)
    all_.deliver()
    all_.answer(1)
    all_.cut()
    assert all_.resolved == {}
    # When the connection is back, then it is told; also where only its receipt is lost.
    all_.connect()
    assert all_.resolved == {1: FINISHED}
    all_.cut()
    all_.connect()
    assert all_.resolved == {1: FINISHED}


def test_outcome_whose_receipt_was_lost_is_told_once() -> None:
    all_ = Together()
    all_.submit(1, 2)
    all_.deliver()
    all_.answer(1)
    all_.act(all_.dispatch.receive(all_._peer, [all_.to_scheduler.popleft()], 0.0))
    assert all_.resolved == {1: FINISHED}
    all_.cut()
    all_.connect()
    all_.answer(2)
    all_.deliver()
    assert all_.resolved == dict.fromkeys((1, 2), FINISHED)


def test_cancel_that_was_lost_on_its_way_is_sent_again() -> None:
    all_ = Together(cpus=1)
    all_.submit(1)
    all_.deliver()
    all_.act(all_.session.cancel([JobId(1)]))
    all_.cut()
    all_.connect()
    assert all_.node._state.workers[1].interrupted_at is not None  # type: ignore[attr-defined]
    all_.act(all_.node.answered(1, [outcome(1, status=CANCELLED)], 1.0))  # type: ignore[arg-type]
    all_.deliver()
    assert all_.resolved == {1: CANCELLED}


@pytest.mark.parametrize("when", ["on its way", "while the scheduler is away"])
def test_job_ends_also_where_a_provisional_result_was_lost_with_the_connection(when: str) -> None:
    # Given a job whose first provisional result is lost.
    all_ = Together()
    all_.submit(1)
    all_.deliver()
    if when == "on its way":
        all_.show(1, 0)
        all_.cut()
    else:
        all_.cut()
        all_.show(1, 0)
    all_.connect()
    # When it shows another one and ends.
    all_.show(1, 1)
    all_.answer(1, progress=2)
    all_.deliver()
    # Then its end is told; no provisional result is out of order.
    assert all_.resolved == {1: FINISHED}
    assert all_.shown == sorted(all_.shown)


def test_node_that_was_taken_for_lost_and_is_back_is_used_again() -> None:
    # Given a node that was silent for longer than the lease, with a job that may run again.
    all_ = Together(reentrant=True)
    all_.submit(1)
    all_.deliver()
    all_.cut()
    all_.now = LEASE
    all_.act(all_.dispatch.tick(all_.now))
    # When it is back, then the job runs there anew, and its end is told once.
    all_.connect()
    worker = max(all_.hands)
    assert [(job.number, job.attempt) for job in all_.hands[worker]] == [(1, 2)]
    all_.answer(worker)
    all_.deliver()
    assert all_.resolved == {1: FINISHED}
