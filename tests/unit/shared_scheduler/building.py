"""A scheduler's rules with nodes and clients, for the tests of what visitors ask."""

from __future__ import annotations

from typing import Any

from gdispy.protocol.ids import ComputationId, Instance, Peer
from gdispy.protocol.messages import Message
from gdispy.rules.scheduler.client_mailbox import NO_QUOTAS, ClientMailbox
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.explanation import explain
from gdispy.runtime.log_buffer import LogBuffer
from gdispy.shared_scheduler.client_proxy import ClientProxy
from gdispy.shared_scheduler.inquiries import Inquiries
from tests.unit.rules.scheduler.builders import CLIENT, Parts

RUN = Instance(b"r" * 16)


class Rules(Parts):
    """What the tests need of `Dispatch`, over tables that they can change."""

    def explain(self, computation: ComputationId, job: Any, now: float) -> list[str]:
        known = self.state.computations.get(computation)
        task = known.tasks.get(job) if known is not None else None
        return explain(self.state, self.turns, self.reminders, known, task, now)


class Visitor:
    """The connection of a visitor."""

    def __init__(self, peer: int = 500) -> None:
        self.peer = Peer(peer)
        self.answers: list[Any] = []

    def answer(self, message: Message) -> None:
        self.answers.append(message)


class Site:
    """A scheduler with one client, whose computation C a node has loaded."""

    def __init__(self, cpus: int = 2) -> None:
        self.rules = Rules()
        self.computation: Computation = self.rules.open()
        self.node = self.rules.join(cpus=cpus)
        self.rules.load(self.node, self.computation)
        mailbox = ClientMailbox(CLIENT, Instance(b"c" * 16), "lab3 (ann: fit.py)", NO_QUOTAS)
        mailbox.incoming(self.computation.open)
        self.proxy = ClientProxy(mailbox, lambda number: None, lambda message: None)
        self.log = LogBuffer()
        clients = {Instance(b"c" * 16): self.proxy}
        self.inquiries = Inquiries(self.rules, clients, self.log, RUN)  # type: ignore[arg-type]
        self.visitor = Visitor()

    def submit(self, *jobs: int) -> None:
        """Jobs that are placed as far as there are CPUs."""
        self.rules.submit(self.computation, *jobs)
        self.rules.placement.place(0.0)

    def ask(self, message: Message, visitor: Visitor | None = None) -> list[Any]:
        """The effects of a question."""
        found = self.inquiries.take(visitor or self.visitor, message, 0.0)  # type: ignore[arg-type]
        assert found is not None
        return list(found)
