"""Groups of jobs in random worlds: worker and node take their steps in any order, and no job is lost or run twice."""

from __future__ import annotations

import random
import socket
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from gdispy.buffers.memory_file_pool import MemoryFilePool
from gdispy.execution.worker_channel import GROUP, LENGTH, WorkerChannel
from gdispy.protocol.ids import JobId
from gdispy.rules.node.job import Job
from gdispy.worker.frames import FINISHED, RESULT, RETURNED, TOGETHER
from gdispy.worker.shared_page import BEGUN, FILLED, GENERATION, VOID, Page

WORLDS = 400
JOBS = 120


class Contested:
    """The worker's end of the job socket: between two reads of the node's, the worker may take some steps."""

    def __init__(self, end: Any, world: World) -> None:
        self.end, self._world = end, world

    def recvmsg(self, *args: Any) -> Any:
        self._world.let_worker_step()
        return self.end.recvmsg(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.end, name)


class World:
    """One worker, as `runner.py` makes its steps, and the node's side, as `execution/process_manager.py` makes its."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ends = WorkerChannel(1, None, MemoryFilePool())  # type: ignore[arg-type]
        self.page = Page(self.ends.page_fd)
        self.inner = self.ends._worker_jobs
        self.ends._worker_jobs = Contested(self.inner, self)  # type: ignore[assignment]
        self.worker = self.work()
        self.is_dead = False
        self.ran: list[int] = []
        self.ended: list[int] = []
        #: What waits at the node, and what it has handed over and not heard of.
        self.queue = deque(range(1, JOBS + 1))
        self.hand: deque[int] = deque()
        #: Looks at a living worker that are due: the last number, and the mark.
        self.looks: list[tuple[int, tuple[int, int]]] = []

    def close(self) -> None:
        self.page.close()
        self.ends.worker_results.close()
        self.ends.close()

    # The worker

    def work(self) -> Iterator[None]:
        while True:
            yield
            try:
                fields = msgpack.unpackb(self.inner.recv(65536, socket.MSG_DONTWAIT))
            except BlockingIOError:
                continue
            if len(fields) == 2:
                yield from self.work_together(*fields)
            else:
                yield
                self.ran.append(fields[0])
                yield
                self.send(self.outcome(fields[0]))

    def work_together(self, serial: int, group: list[list[Any]]) -> Iterator[None]:
        words = self.page.words
        for number, _, _ in group:
            yield
            words[BEGUN] = serial
            yield
            if words[VOID] >= serial:
                yield from self.send_kept()
                self.send([RETURNED, serial])
                return
            yield
            self.ran.append(number)
            yield
            assert self.page.keep(msgpack.packb(self.outcome(number)))
            serial += 1
        yield from self.send_kept()

    def send_kept(self) -> Iterator[None]:
        words = self.page.words
        if words[FILLED]:
            generation, filled = self.page.mark()
            self.send([TOGETHER, generation, self.page.kept(generation, filled)])
            yield
            words[FILLED] = 0
            yield
            words[GENERATION] += 1

    def outcome(self, number: int) -> list[Any]:
        return [RESULT, number, 1, FINISHED, b"", b"", b"", "", 0.0, 0.0, 0, False]

    def send(self, fields: list[Any]) -> None:
        body = msgpack.packb(fields)
        self.ends.worker_results.sendall(LENGTH.pack(len(body)) + body)

    def let_worker_step(self) -> None:
        for _ in range(self.random.choice((0, 0, 1, 3, 10, 40))):
            if not self.is_dead:
                next(self.worker)

    # The node

    def node_step(self) -> None:
        acts = (self.hand_over, self.hand_over, self.read, self.take_back, self.take_back, self.look)
        self.random.choice(acts)()

    def hand_over(self) -> None:
        count = min(len(self.queue), self.random.choice((1, 2, 2 * GROUP, 3 * GROUP + 1)))
        if count and len(self.hand) < 4 * GROUP:
            jobs = [self.queue.popleft() for _ in range(count)]
            self.hand.extend(jobs)
            self.ends.hand([Job(JobId(number), 1, b"x") for number in jobs], {})

    def read(self) -> None:
        try:
            self.take(self.ends.parse(self.ends.results.recv(65536)))
        except BlockingIOError:
            return
        self.ends.flush()

    def take(self, frames: list[list[Any]]) -> None:
        for fields in frames:
            if fields[0] == TOGETHER:
                self.take(self.ends.groups.sent_together(*fields[1:]))
            elif fields[0] == RETURNED:
                self.put_back(self.ends.take_from(fields[1]))
            else:
                self.ends.answered([self.ends.row(fields)])
                assert self.hand and self.hand.popleft() == fields[1], "an outcome of another job than the next"
                self.ended.append(fields[1])

    def put_back(self, taken: list[tuple[JobId, int]]) -> None:
        for number, _ in reversed(taken):
            self.hand.remove(number)
            self.queue.appendleft(number)

    def take_back(self) -> None:
        self.put_back(self.ends.take_back())
        if self.ends.groups:
            self.looks.append((self.ends.groups.void(), self.page_mark()))

    def page_mark(self) -> tuple[int, int]:
        return self.ends.page.mark()

    def look(self) -> None:
        """Of the looks that are due, in any order."""
        if self.looks:
            last, mark = self.looks.pop(self.random.randrange(len(self.looks)))
            self.take_kept(*mark)
            self.put_back(self.ends.take_rest(last))

    def take_kept(self, generation: int, filled: int) -> None:
        frames = self.ends.page.kept(generation, filled)
        self.let_worker_step()
        self.read()
        self.take(self.ends.groups.kept(generation, frames))

    def die(self) -> None:
        self.is_dead = True
        self.take_kept(*self.ends.page.mark())
        self.put_back(self.ends.take_back())
        self.put_back(self.ends.take_rest())


@pytest.fixture
def worlds() -> Iterator[Any]:
    made: list[World] = []

    def make(seed: int) -> World:
        made.append(World(seed))
        return made[-1]

    yield make
    for world in made:
        world.close()


def live(world: World, steps: int) -> None:
    for _ in range(steps):
        if not world.queue and not world.hand:
            return
        world.node_step()
        world.let_worker_step()


@pytest.mark.parametrize("share", range(8))
def test_each_job_ends_once(worlds: Any, share: int) -> None:
    for seed in range(share, WORLDS, 8):
        world = worlds(seed)
        live(world, 100_000)
        assert sorted(world.ran) == sorted(world.ended) == list(range(1, JOBS + 1)), seed
        assert world.ends.outstanding == 0 and not world.ends.groups, seed


@pytest.mark.parametrize("share", range(8))
def test_a_worker_that_dies_costs_the_job_that_it_was_at(worlds: Any, share: int) -> None:
    for seed in range(share, WORLDS, 8):
        world = worlds(seed)
        live(world, world.random.randrange(200))
        world.die()
        # What is left in its hand had begun: one at most. All others have ended, or wait.
        assert len(world.hand) <= 1, seed
        assert sorted([*world.ended, *world.hand, *world.queue]) == list(range(1, JOBS + 1)), seed
        assert set(world.ran) <= {*world.ended, *world.hand}, seed
        assert len(set(world.ran)) == len(world.ran), seed
