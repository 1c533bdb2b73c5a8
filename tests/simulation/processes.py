"""Templates and workers of a simulated node, by the contract of `execution/process_manager.py` and `worker/runner.py`.

A job that a worker has taken out of its socket has begun; what is still in there has not, and can be
taken back, also when the worker is dead. All that a worker wrote is read before its exit is told, and
the exits of a template's workers before its own. What the node tells a template arrives in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from gdispy.protocol.ids import ComputationId, JobId, WorkerId
from gdispy.protocol.job_status import FINISHED, TERMINATED
from gdispy.protocol.messages import Prepare
from gdispy.rules.effects import Effects
from gdispy.rules.node.job import Job
from gdispy.rules.node.node_rules import NodeRules
from tests.simulation.links import Parcel
from tests.simulation.timeline import Broken, Timeline, Turns

#: Beginnings of the texts that workers and shells give as reasons.
FAILED, INTERRUPTED, DIED, NOT_LOADED = "failed", "interrupted", "died", "not loaded"


@dataclass
class Plan:
    """What a job does when it runs."""

    seconds: float
    #: How many provisional results it sends.
    shows: int = 0
    fails: bool = False
    #: Its process dies before it ends.
    kills: bool = False
    #: Its process dies soon after it has ended, of something that it left behind.
    kills_later: bool = False
    #: It goes on in spite of an interrupt.
    is_stubborn: bool = False
    #: It never ends by itself.
    hangs: bool = False
    #: Its results are too long for a message.
    is_bulky: bool = False
    #: It writes where only its worker should: what comes from that worker then makes no sense.
    babbles: bool = False
    #: It crashes the whole node.
    is_deadly: bool = False


@dataclass
class Run:
    """A job that a worker has begun."""

    number: int
    job: JobId
    attempt: int
    plan: Plan
    began: float
    #: '' as long as it runs; what came of it then.
    outcome: str = ""
    #: Provisional results that it has sent.
    shown: int = 0
    #: What came of it cannot be told, since its worker's results make no sense.
    is_spoiled: bool = False


class Surroundings(Protocol):
    """What the processes of a node need of the world."""

    def begun(self, computation: ComputationId, job: JobId, attempt: int) -> Run: ...

    def told(self, computation: ComputationId, job: JobId, text: str) -> None: ...

    def load_error(self, computation: ComputationId) -> str: ...

    def is_stillborn(self) -> bool: ...


class Worker:
    """A worker process, with the node's ends of its sockets."""

    def __init__(self, number: WorkerId, template: Template) -> None:
        self.number = number
        self.template = template
        self.is_alive = False
        #: Its job socket.
        self.queue: deque[Job] = deque()
        self.run: Run | None = None
        #: Counts what it does, so that what was interrupted does not go on.
        self.step = 0
        #: Which job is to be interrupted.
        self.page: tuple[JobId, int] | None = None
        #: Results that the node has not read.
        self.frames: list[tuple[str, tuple[Any, ...]]] = []
        #: What it writes makes no sense any more.
        self.is_spoiled = False
        #: Its exit was put into the pump.
        self.has_ended = False


class Template:
    """A template process."""

    def __init__(self, prepare: Prepare) -> None:
        self.id = prepare.computation
        self.is_alive = True
        self.is_ending = False
        self.error = ""
        self.workers: dict[WorkerId, Worker] = {}
        #: When the last order arrives that was given so far.
        self.busy_until = 0.0


class Processes:
    """All processes of one life of a node."""

    def __init__(self, timeline: Timeline, random: Random, rules: NodeRules, turns: Turns, world: Surroundings) -> None:
        self._timeline = timeline
        self._random = random
        self._rules = rules
        self._turns = turns
        self._world = world
        self.templates: dict[ComputationId, Template] = {}
        self.workers: dict[WorkerId, Worker] = {}
        self.is_gone = False

    def _soon(self, scale: float = 0.002) -> float:
        return scale * self._random.random() ** 2

    def vanish(self) -> None:
        """The node has crashed, and with it all its processes."""
        self.is_gone = True
        for worker in self.workers.values():
            worker.is_alive = False

    # Templates

    def load(self, prepare: Prepare) -> None:
        if prepare.computation in self.templates:
            raise Broken("a computation is to be loaded that is not gone yet")
        template = self.templates[prepare.computation] = Template(prepare)
        template.error = self._world.load_error(prepare.computation)
        self._order(template, self._load, template, scale=0.2)

    def _load(self, template: Template) -> None:
        self._timeline.after(self._soon(), self._turns.put, self._loaded, template)

    def _loaded(self, template: Template, now: float) -> Effects:
        """Told as long as it is there: its end may have been told before."""
        if self.templates.get(template.id) is not template or template.is_ending:
            return []
        return self._rules.loaded(template.id, template.error, now)

    def unload(self, computation: ComputationId) -> None:
        template = self.templates.get(computation)
        if template is None:
            self._turns.put(self._rules.unloaded, computation)
            return
        template.is_ending = True
        for worker in template.workers.values():
            worker.is_alive = False
            del self.workers[worker.number]
        template.workers.clear()
        if template.is_alive:
            template.is_alive = False
            self._timeline.after(self._soon(0.1), self._report_template, template)

    def kill_template(self, template: Template) -> None:
        """It dies by itself, and all its workers with it."""
        if template.is_alive and not template.is_ending:
            template.is_alive = False
            for worker in template.workers.values():
                self._perish(worker, f"{DIED} with its template")
            self._timeline.after(self._soon(0.02), self._report_template, template)

    def _report_template(self, template: Template) -> None:
        self._turns.put(self._template_ended, template)

    def _template_ended(self, template: Template, now: float) -> Effects:
        """Its end is told in one turn, so that no decision falls in between; what follows from it later."""
        del self.templates[template.id]
        effects = self._rules.template_ended(template.id, now)
        for worker in list(template.workers.values()):
            self._worker_ended(worker, f"{DIED} with its template")
        if template.is_ending:
            self._turns.put(self._rules.unloaded, template.id)
        else:
            self._turns.put(self._rules.template_lost, template.id, f"{NOT_LOADED}: killed")
        return effects

    def _order(self, template: Template, action: Callable[..., None], *args: Any, scale: float = 0.002) -> None:
        """Have the template do something, after all that it was told before, if it lives then."""

        def obey() -> None:
            if template.is_alive and not self.is_gone:
                action(*args)

        now = self._timeline.now
        template.busy_until = max(now, template.busy_until) + self._soon(scale)
        self._timeline.after(template.busy_until - now, obey)

    # What the rules ask for

    def new_worker(self, number: WorkerId, computation: ComputationId) -> None:
        template = self.templates.get(computation)
        if template is None or template.is_ending:
            raise Broken("a worker is to be forked from a template that is not there")
        worker = self.workers[number] = template.workers[number] = Worker(number, template)
        self._order(template, self._fork, worker)

    def hand(self, number: WorkerId, jobs: list[Job]) -> None:
        worker = self.workers.get(number)
        if worker is not None:
            worker.queue.extend(jobs)
            self._wake(worker)

    def take_back(self, number: WorkerId) -> None:
        worker = self.workers.get(number)
        if worker is None or worker.has_ended:
            return
        taken = [(job.number, job.attempt) for job in worker.queue]
        worker.queue.clear()
        self._turns.put(self._rules.took_back, number, taken)

    def interrupt(self, number: WorkerId, job: JobId, attempt: int) -> None:
        worker = self.workers.get(number)
        if worker is not None:
            worker.page = (job, attempt)
            self._order(worker.template, self._signal, worker)

    def terminate(self, number: WorkerId) -> None:
        self._kill_later(number, "SIGTERM", 0.7)

    def end(self, number: WorkerId) -> None:
        self._kill_later(number, "SIGKILL", 1.0)

    def _kill_later(self, number: WorkerId, name: str, chance: float) -> None:
        worker = self.workers.get(number)
        if worker is not None and self._random.random() < chance:
            self._order(worker.template, self.kill_worker, worker, f"{DIED} by {name}")

    # What workers do

    def _fork(self, worker: Worker) -> None:
        worker.is_alive = True
        if worker.template.error or self._world.is_stillborn():
            self.kill_worker(worker, f"{DIED} before it could begin")
        self._wake(worker)

    def _wake(self, worker: Worker) -> None:
        if worker.is_alive and worker.run is None and worker.queue:
            worker.step += 1
            self._timeline.after(self._soon(0.0005), self._take, worker, worker.step)

    def _take(self, worker: Worker, step: int) -> None:
        if not worker.is_alive or worker.step != step or worker.run is not None or not worker.queue:
            return
        job = worker.queue.popleft()
        run = worker.run = self._world.begun(worker.template.id, job.number, job.attempt)
        worker.step += 1
        plan = run.plan
        if plan.babbles:
            worker.is_spoiled = True
            self._write(worker, "answered", (-1, 0, FINISHED, b"", b"", b"", "", 0.0, 0.0, 0, False))
        run.is_spoiled = worker.is_spoiled
        for index in range(plan.shows):
            moment = plan.seconds * (index + self._random.random()) / plan.shows
            self._timeline.after(moment, self._show, worker, worker.step, index)
        if worker.page == (job.number, job.attempt):
            self._end(worker, INTERRUPTED)
        elif plan.kills:
            self._timeline.after(plan.seconds, self._die_at_work, worker, worker.step)
        elif not plan.hangs:
            self._timeline.after(plan.seconds, self._finish, worker, worker.step)

    def _show(self, worker: Worker, step: int, index: int) -> None:
        run = worker.run
        if worker.is_alive and worker.step == step and run is not None:
            value = self._value(run.plan, b"%d" % index)
            run.shown += 1
            self._write(worker, "shown", (run.job, run.attempt, index, value))

    def _value(self, plan: Plan, data: bytes) -> Any:
        return Parcel(data) if plan.is_bulky and self._random.random() < 0.5 else data

    def _finish(self, worker: Worker, step: int) -> None:
        if worker.is_alive and worker.step == step and worker.run is not None:
            self._end(worker, FAILED if worker.run.plan.fails else "finished")

    def _die_at_work(self, worker: Worker, step: int) -> None:
        if worker.step == step and worker.run is not None:
            self.kill_worker(worker, f"{DIED} by its job")

    def _end(self, worker: Worker, outcome: str) -> None:
        run = worker.run
        assert run is not None
        run.outcome = outcome
        worker.run = None
        worker.step += 1
        now = self._timeline.now
        is_good = outcome == "finished"
        status, text = (FINISHED, "") if is_good else (TERMINATED, f"{outcome} {run.number}\n")
        result = self._value(run.plan, b"%d" % run.number) if is_good else b""
        row = (run.job, run.attempt, status, result, b"", b"", text, run.began, now, run.shown, False)
        self._world.told(worker.template.id, run.job, f"run {run.number} {outcome} in worker {worker.number}")
        self._write(worker, "answered", row)
        if run.plan.kills_later:
            self._timeline.after(self._soon(), self.kill_worker, worker, f"{DIED} of what a former job left")
        self._wake(worker)

    def _write(self, worker: Worker, kind: str, row: tuple[Any, ...]) -> None:
        if not worker.frames:
            self._timeline.after(self._soon(), self._read, worker)
        worker.frames.append((kind, row))

    def _signal(self, worker: Worker) -> None:
        run = worker.run
        if worker.is_alive and run is not None and worker.page == (run.job, run.attempt) and not run.plan.is_stubborn:
            self._end(worker, INTERRUPTED)

    def kill_worker(self, worker: Worker, cause: str) -> None:
        """Its process dies, whatever it does."""
        if not worker.is_alive:
            return
        self._perish(worker, cause)
        self._order(worker.template, self._worker_ended, worker, cause)

    def _perish(self, worker: Worker, cause: str) -> None:
        if worker.is_alive and worker.run is not None:
            worker.run.outcome = cause
        worker.is_alive = False

    # What the node reads

    def _read(self, worker: Worker) -> None:
        """Take all results that are there, in portions that end where a provisional one lies between."""
        frames, worker.frames = worker.frames, []
        if self.is_gone or worker.number not in self.workers or worker.has_ended:
            return
        rows: list[tuple[Any, ...]] = []
        for kind, row in frames:
            if kind == "answered":
                rows.append(row)
                continue
            if rows:
                self._turns.put(self._rules.answered, worker.number, rows)
                rows = []
            self._turns.put(self._progressed, worker.number, row)
        if rows:
            self._turns.put(self._rules.answered, worker.number, rows)

    def _progressed(self, number: WorkerId, row: tuple[Any, ...], now: float) -> Effects:
        return self._rules.progressed(number, *row)

    def _worker_ended(self, worker: Worker, cause: str) -> None:
        if self.workers.get(worker.number) is not worker or worker.has_ended:
            return
        self._read(worker)
        worker.has_ended = True
        worker.template.workers.pop(worker.number, None)
        self._turns.put(self._exited, worker, cause)

    def _exited(self, worker: Worker, cause: str, now: float) -> Effects:
        """Only here is it known what was in the socket: jobs may have been handed over until now."""
        if self.workers.pop(worker.number, None) is None:
            return []
        taken = [(job.number, job.attempt) for job in worker.queue]
        return self._rules.exited(worker.number, taken, cause, now)
