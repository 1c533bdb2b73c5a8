"""Simulated nodes: the real `NodeRules`, driven as `node.py` does it, with processes that are not real."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.messages import (
    Cancel,
    Cpus,
    Ended,
    Hello,
    Inventory,
    Message,
    OutcomesAcked,
    Progress,
    ProgressAcked,
    Release,
    Returned,
    Run,
    Started,
)
from gdispy.rules.effects import Drop, Send, WriteFacts
from gdispy.rules.history.replay import JournalState
from gdispy.rules.node.effects import AssignJobs, Interrupt, Kill, Load, NewWorker, RecallJobs, Terminate, Unload
from gdispy.rules.node.node_rules import NodeRules
from tests.simulation import seams
from tests.simulation.book import Book
from tests.simulation.links import Link, received
from tests.simulation.processes import NOT_LOADED, Processes, Template
from tests.simulation.processes import Run as RunOfJob
from tests.simulation.timeline import Broken, JobKey, Timeline, Turns

#: Why a connection may be closed on purpose here.
_GOOD_REASON = "replaced by a newer connection"
_ABOUT_JOBS = (Run, Cancel, Returned, Started, Ended, OutcomesAcked, ProgressAcked)


class Health:
    """What may go wrong with the computations on a node; a safe one always runs them in the end."""

    def __init__(self, random: Random, safe: set[ComputationId], error_rate: float, stillborn_rate: float) -> None:
        self._random = random
        self._safe = safe
        self._error_rate = error_rate
        self._stillborn_rate = stillborn_rate
        self._deaths: dict[ComputationId, int] = {}

    def load_error(self, computation: ComputationId) -> str:
        if computation not in self._safe and self._random.random() < self._error_rate:
            return f"{NOT_LOADED}: an error"
        return ""

    def is_stillborn(self) -> bool:
        """Whether a worker dies before it can take a job."""
        return self._random.random() < self._stillborn_rate

    def may_die(self, computation: ComputationId) -> bool:
        """Whether the template may die once more without the computation being given up."""
        if computation in self._safe and self._deaths.get(computation, 0) >= 2:
            return False
        self._deaths[computation] = self._deaths.get(computation, 0) + 1
        return True


class Life:
    """One life of a node, from its start until it crashes."""

    def __init__(
        self,
        timeline: Timeline,
        random: Random,
        book: Book,
        instance: Instance,
        cpus: int,
        lease: float,
        health: Health,
        spool: dict[ComputationId, list[Message]],
    ) -> None:
        self._timeline = timeline
        self._random = random
        self._book = book
        self.instance = instance
        self._health = health
        self.rules = NodeRules(cpus, lease=lease)
        #: What is written down of computations whose scheduler is away; it outlives this life.
        self._spool = spool
        self._take_up()
        self._turns = Turns(timeline, random, self.rules, self._perform)
        self.processes = Processes(timeline, random, self.rules, self._turns, self)
        self._links: dict[Peer, Link] = {}
        self.is_over = False
        #: What to do when a job crashes this node.
        self.on_deadly_job: Callable[[], None] = self.crash
        book.breaks[instance] = 0

    def _take_up(self) -> None:
        """Find what a former life has written down."""
        known = JournalState()
        for facts in self._spool.values():
            for fact in facts:
                known.take(fact)
        for history in known.histories.values():
            self.rules.restore(history, self._timeline.now)

    # Its connections

    def accept(self, link: Link) -> None:
        self._links[link.at_node] = link

    def on_messages(self, link: Link, messages: list[Message]) -> None:
        if self.is_over:
            return
        if not link.node_greeted:
            hello = messages.pop(0)
            if not isinstance(hello, Hello):
                raise Broken(f"the first word to a node is {hello}")
            link.node_greeted = True
            self._book.breaks[self.instance] += 1
            link.to_scheduler.send(
                Hello("node", self.instance, self.instance.decode(), "1", "3.11", "linux", self.rules.offered, "", 0.0)
            )
            self._turns.put(self.rules.joined, link.at_node, hello)
        for message in messages:
            self._note(message, "arrives at")
        self._turns.put(self.rules.receive, link.at_node, messages)

    def closed(self, link: Link) -> None:
        self._links.pop(link.at_node, None)
        if link.node_greeted and not self.is_over:
            self._turns.put(self.rules.gone, link.at_node)

    def _note(self, message: Any, what: str) -> None:
        text = f"{type(message).__name__} {what} {self.instance!r}"
        if isinstance(message, _ABOUT_JOBS):
            for job, attempt in zip(message.jobs, message.attempts, strict=True):
                self._book.note(message.computation, [job], f"{text}, attempt {attempt}")
        elif isinstance(message, Progress):
            self._book.note(message.computation, [message.job], f"{text}, place {message.index}")
        elif isinstance(message, Inventory | Cpus):
            self._timeline.note(None, text)
        else:
            self._timeline.note(None, f"{text}, for {message.computation!r}")

    def set_cpus(self, cpus: int) -> None:
        """Its owner wants it to offer so many."""
        self._timeline.note(None, f"{self.instance!r} offers {cpus} cpus")
        self._turns.put(self.rules.set_cpus, cpus)

    # Its end, and trouble

    def crash(self) -> None:
        """All at once, without a word."""
        self.is_over = True
        # What is written down of its outcomes is not what they have shown.
        self._book.breaks[self.instance] += 1
        self._turns.stop()
        self.processes.vanish()

    def kill_some_process(self, rate_of_templates: float) -> None:
        """A worker dies, or a template, or all templates at once."""
        random, processes = self._random, self.processes
        templates = [each for each in processes.templates.values() if each.is_alive and not each.is_ending]
        if random.random() < rate_of_templates:
            if random.random() < 0.7:
                templates = templates[:1]
            for template in templates:
                self._kill(template)
            return
        workers = [each for each in processes.workers.values() if each.is_alive]
        if workers:
            processes.kill_worker(random.choice(workers), "died of itself")

    def _kill(self, template: Template) -> None:
        if self._health.may_die(template.id):
            self._timeline.note(None, f"the template of {template.id!r} on {self.instance!r} dies")
            self.processes.kill_template(template)

    # What its processes need

    def begun(self, computation: ComputationId, job: JobId, attempt: int) -> RunOfJob:
        key = self._book.key(computation, job)
        run = self._book.begun(key, attempt, self.instance)
        workers = [each for each in self.processes.workers.values() if each.template.id == computation]
        busy = [
            seams.workers(self.rules)[each.number].cpus for each in workers if each.run is not None and each.is_alive
        ]
        if sum(busy) >= self._book.limits.get(computation, sum(busy) + 1):
            raise Broken(f"a job begins where others of its computation run on {sum(busy)} CPUs", key)
        if run.plan.is_deadly:
            self._timeline.after(run.plan.seconds * self._random.random(), self._die_of_job)
        return run

    def _die_of_job(self) -> None:
        if not self.is_over:
            self.on_deadly_job()

    def told(self, computation: ComputationId, job: JobId, text: str) -> None:
        self._book.note(computation, [job], text)

    def load_error(self, computation: ComputationId) -> str:
        return self._health.load_error(computation)

    def is_stillborn(self) -> bool:
        return self._health.is_stillborn()

    # Effects

    def _perform(self, effect: Any) -> None:
        self._EFFECTS[type(effect)](self, effect)

    def _send(self, effect: Send) -> None:
        link = self._links.get(effect.peer)
        if link is not None:
            self._note(effect.message, "is sent by")
            link.to_scheduler.send(effect.message)

    def _drop(self, effect: Drop) -> None:
        if effect.reason != _GOOD_REASON:
            raise Broken(f"a node closes a connection: {effect.reason}")
        link = self._links.get(effect.peer)
        if link is not None:
            link.cut(0.01)

    def _record(self, effect: WriteFacts) -> None:
        if isinstance(effect.facts[-1], Release):
            self._spool.pop(effect.computation, None)
        else:
            self._spool.setdefault(effect.computation, []).extend(received(fact)[0] for fact in effect.facts)

    def _hand(self, effect: AssignJobs) -> None:
        worker = seams.workers(self.rules).get(effect.worker)
        if worker is not None:
            numbers = [job.number for job in effect.jobs]
            self._book.note(worker.computation.id, numbers, f"handed to worker {effect.worker}")
        self.processes.hand(effect.worker, effect.jobs)

    _EFFECTS: dict[type, Callable[[Life, Any], None]] = {
        Send: _send,
        WriteFacts: _record,
        Drop: _drop,
        AssignJobs: _hand,
        Load: lambda self, effect: self.processes.load(effect.prepare),
        Unload: lambda self, effect: self.processes.unload(effect.computation),
        NewWorker: lambda self, effect: self.processes.new_worker(effect.worker, effect.computation),
        RecallJobs: lambda self, effect: self.processes.take_back(effect.worker),
        Interrupt: lambda self, effect: self.processes.interrupt(effect.worker, effect.job, effect.attempt),
        Terminate: lambda self, effect: self.processes.terminate(effect.worker),
        Kill: lambda self, effect: self.processes.end(effect.worker),
    }

    # What is left

    def held(self) -> list[tuple[JobKey, int]]:
        """Jobs, with their attempts, that have not ended here."""
        return [
            (self._book.key(computation.id, job.number), job.attempt)
            for computation in seams.computations(self.rules).values()
            for job in computation.jobs.values()
        ]

    def check_idle(self) -> None:
        """No job, and no outcome that nobody collected."""
        for computation in seams.computations(self.rules).values():
            for number in [*computation.jobs, *computation.outcomes.unacked, *computation.progress.shown()]:
                key = self._book.key(computation.id, number)
                raise Broken(f"{self.instance!r} still has a job, an outcome or a provisional result", key)

    def check_empty(self) -> None:
        """Nothing is left of any computation."""
        left = [*seams.left(self.rules), *self.processes.templates, *self.processes.workers]
        if left:
            raise Broken(f"on {self.instance!r} something is left: {left}")
