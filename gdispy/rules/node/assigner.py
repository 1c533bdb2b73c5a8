"""Which waiting job goes to which worker.

Invariant: at most `Capacity.cpus` CPUs have work, and of each computation at most the number that its scheduler allows.
If that number was lowered, busy CPUs continue, and no other starts work until few enough are busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import count

from gdispy.protocol.ids import WorkerId
from gdispy.rules.effects import Effects
from gdispy.rules.node.capacity import Capacity
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.effects import NewWorker
from gdispy.rules.node.job_table import JobTable
from gdispy.rules.node.state import NodeState
from gdispy.rules.node.worker import Worker


class Assigner:
    """Assigns waiting jobs to workers."""

    def __init__(self, state: NodeState, capacity: Capacity, jobs: JobTable) -> None:
        self._state = state
        self._capacity = capacity
        self._jobs = jobs
        self._numbers = count(1)

    def assign(self, now: float) -> Effects:
        """Assign waiting jobs: free workers first, and the computation with the fewest busy CPUs first."""
        effects: Effects = []
        waiting = self._jobs.take_waiting()
        if not waiting:
            return effects
        part = 0  # CPUs for each computation that has jobs here; 0 if at most one waits.
        if len(waiting) > 1:
            waiting = deque(sorted(waiting, key=Computation.load))
            part = self._part()
        served: list[Computation] = []
        has_nothing = has_little = False
        for _ in range(len(waiting)):
            computation = waiting.popleft()
            if not computation.processes.ready:
                continue  # It waits again when it is loaded.
            fresh = self._hand_to_free(computation, -(-self._capacity.free() // (len(waiting) + 1)), effects, now)
            if not computation.queue:
                continue
            workers: Iterable[Worker] = computation.workers.values()
            if part:
                load = computation.load()
                if has_nothing or (has_little and load > part):
                    workers = fresh  # Others wait for its CPUs: workers that have jobs get no more.
                has_nothing, has_little = has_nothing or load == 0, has_little or load < min(part, computation.cpus)
            effects += self._top_up(computation, workers)
            if computation.queue:
                (served if fresh else waiting).append(computation)
        if served:
            self._hand_on(served, effects, now)
            waiting += [computation for computation in served if computation.queue]
        self._jobs.wait_in_order(waiting)
        return effects

    def _hand_on(self, served: list[Computation], effects: Effects, now: float) -> None:
        """Assign to computations that were served the CPUs that the others may not use."""
        for computation in served if self._capacity.free() > 0 else ():
            self._hand_to_free(computation, self._capacity.free(), effects, now)

    def _part(self) -> int:
        """The CPUs for each computation that has jobs here."""
        sharers = sum(bool(each.jobs) for each in self._state.computations.values())
        return max(1, self._capacity.cpus // max(1, sharers))  # Waiting ones may have had their jobs cancelled.

    def _hand_to_free(self, computation: Computation, share: int, effects: Effects, now: float) -> list[Worker]:
        """Assign jobs to free workers, on at most `share` CPUs; returns these workers."""
        idle = [worker for worker in computation.workers.values() if worker.is_free()]
        fresh: list[Worker] = []
        free = min(self._capacity.free(), computation.room())
        while computation.queue and share > 0 and free > 0:
            cpus = min(computation.queue[0].cpus, self._capacity.cpus, computation.cpus)
            if cpus > free:
                break
            worker = idle.pop() if idle else self._new_worker(computation, effects)
            effects += self._jobs.hand_first(worker, cpus, now)
            fresh.append(worker)
            share -= cpus
            free -= cpus
        return fresh

    def _new_worker(self, computation: Computation, effects: Effects) -> Worker:
        worker = Worker(WorkerId(next(self._numbers)), computation)
        self._state.add_worker(worker)
        effects.append(NewWorker(worker.number, computation.id))
        return worker

    def _top_up(self, computation: Computation, workers: Iterable[Worker]) -> Effects:
        """Queue more short jobs behind those that workers have in hand."""
        if not computation.has_short_jobs or self._capacity.free() < 0 or computation.room() < 0:
            return []
        busy = [worker for worker in workers if worker.hand and not worker.is_ending]
        portion = computation.portion(max(1, len(busy)))
        effects: Effects = []
        for place, worker in enumerate(busy):
            if worker.may_have_more():
                part = -(-len(computation.queue) // (len(busy) - place))
                effects += self._jobs.hand_more(worker, min(portion, part))
        return effects
