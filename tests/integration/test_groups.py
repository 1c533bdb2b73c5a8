"""Jobs of microseconds go to workers in groups: each still begins once, and is nobody's hostage."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster
from gdispy.buffers.memory_file_pool import MemoryFilePool
from gdispy.execution.worker_channel import GROUP, WorkerChannel
from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import FINISHED
from gdispy.rules.node.job import Job
from gdispy.worker import pickling
from gdispy.worker.calls import call_function
from gdispy.worker.frames import RESULT, RETURNED, TOGETHER
from gdispy.worker.limits import Limits
from gdispy.worker.runner import Worker
from tests.support.jobs import note_quickly, pass_gate
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


def warm(made: JobCluster, log: Path) -> None:
    """Have the node learn that these jobs take microseconds."""
    for job in [made.submit(str(log), -1, "") for _ in range(3000)]:
        assert job() == -1


def begun(log: Path) -> Counter[int]:
    counts = Counter(map(int, log.read_text().split()))
    del counts[-1]
    return counts


def test_a_job_that_takes_long_holds_up_none_of_its_group(cluster: Make, tmp_path: Path) -> None:
    # Given jobs of which one waits for a gate.
    made, log, gate = cluster(note_quickly), tmp_path / "begun", tmp_path / "gate"
    warm(made, log)
    jobs = [made.submit(str(log), number, str(gate) if number == 203 else "") for number in range(400)]
    # Then all others end, those before it in its group and those behind it.
    eventually(
        lambda: sum(job.finish.is_set() for job in jobs) == 399, 20, "jobs wait for one that they have nothing of"
    )
    assert not jobs[203].finish.is_set()
    gate.touch()
    assert [job() for job in jobs] == list(range(400))
    assert begun(log) == Counter(range(400))


def test_a_job_that_kills_its_worker_costs_no_other_one(cluster: Make, tmp_path: Path) -> None:
    made, log = cluster(note_quickly), tmp_path / "begun"
    warm(made, log)
    killers = set(range(50, 600, 97))
    jobs = [made.submit(str(log), number, "kill" if number in killers else "") for number in range(600)]
    assert made.wait(60)
    assert {number for number, job in enumerate(jobs) if job.status == DispyJob.Terminated} == killers
    assert all("SIGKILL" in jobs[number].exception for number in killers)
    assert all(job() == number for number, job in enumerate(jobs) if number not in killers)
    assert begun(log) == Counter(range(600))


def test_jobs_of_groups_are_cancelled_or_run(cluster: Make, tmp_path: Path) -> None:
    made, log, gate = cluster(note_quickly), tmp_path / "begun", tmp_path / "gate"
    warm(made, log)
    jobs = [made.submit(str(log), number, str(gate) if number in (3, 40) else "") for number in range(100)]
    for job in jobs[50:]:
        made.cancel(job)
    gate.touch()
    assert made.wait(30)
    ran = begun(log)
    for number, job in enumerate(jobs):
        wanted = {DispyJob.Finished} if number < 50 else {DispyJob.Finished, DispyJob.Cancelled, DispyJob.Terminated}
        assert job.status in wanted, job.exception
        assert ran[number] == 1 if job.status == DispyJob.Finished else ran[number] <= 1


# A worker and the node's ends of it


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[WorkerChannel]:
    made = WorkerChannel(1, None, MemoryFilePool())  # type: ignore[arg-type]
    pid = os.fork()
    if pid == 0:
        try:
            Worker(made.ends_for_worker(), call_function(pass_gate), str(tmp_path), Limits()).serve()
        finally:
            os._exit(0)
    made.pid = pid
    yield made
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    made.close()


def hand(ends: WorkerChannel, gate: Path, closed: int, first: int) -> None:
    """Two groups; the worker waits at the job `closed` until there is the gate."""
    calls = [
        pickling.dumps_call((number, str(gate) if number == closed else ""), {})
        for number in range(first, first + 2 * GROUP)
    ]
    jobs = [Job(JobId(number), 1, call) for number, call in zip(range(first, first + 2 * GROUP), calls, strict=True)]
    ends.hand(jobs, {})


def kept(ends: WorkerChannel) -> list[list[object]]:
    """What the worker has not sent yet, of which nothing was taken before."""
    generation, filled = ends.page.mark()
    return ends.groups.kept(generation, ends.page.kept(generation, filled))


def read(ends: WorkerChannel, count: int) -> list[list[object]]:
    """Frames of the worker, until there are so many that are no longer together."""
    found: list[list[object]] = []

    def has_come() -> bool:
        try:
            for frame in ends.parse(ends.results.recv(65536)):
                found.extend(ends.groups.sent_together(*frame[1:]) if frame[0] == TOGETHER else [frame])
        except BlockingIOError:
            pass
        return len(found) >= count

    eventually(has_come, 10, "outcomes are missing")
    return found


def test_what_a_worker_has_read_and_not_begun_is_taken_back(ends: WorkerChannel, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    hand(ends, gate, closed=3, first=1)
    eventually((tmp_path / "gate.at").exists, 10)
    # While it is at the third job, the outcomes of those before it can be had, and those behind it be taken back.
    assert [frame[1] for frame in kept(ends)] == [1, 2]
    assert ends.take_back() == [(number, 1) for number in range(GROUP + 1, 2 * GROUP + 1)]
    last = ends.groups.void()
    assert ends.take_rest(last) == [(number, 1) for number in range(4, GROUP + 1)]
    # Then it says what it has done, nothing of that twice, and goes on with what comes.
    gate.touch()
    third, returned = read(ends, 2)
    assert (third[0], third[1], third[3]) == (RESULT, 3, FINISHED)
    assert returned[0] == RETURNED and ends.take_from(int(returned[1])) == []  # type: ignore[call-overload]
    hand(ends, gate, closed=-1, first=101)
    assert [frame[1] for frame in read(ends, 2 * GROUP)] == list(range(101, 101 + 2 * GROUP))


def test_what_a_dead_worker_had_read_and_not_begun_is_taken_back(ends: WorkerChannel, tmp_path: Path) -> None:
    hand(ends, tmp_path / "gate", closed=3, first=1)
    eventually((tmp_path / "gate.at").exists, 10)
    os.kill(ends.pid, signal.SIGKILL)
    os.waitid(os.P_PID, ends.pid, os.WEXITED | os.WNOWAIT)
    assert [frame[1] for frame in kept(ends)] == [1, 2]
    assert ends.take_back() == [(number, 1) for number in range(GROUP + 1, 2 * GROUP + 1)]
    assert ends.take_rest() == [(number, 1) for number in range(4, GROUP + 1)]


class Contested:
    """The worker's end of the job socket, from which the worker takes a message when the node has taken its first."""

    def __init__(self, end: Any) -> None:
        self._end = end
        self._reads = 0

    def recvmsg(self, *args: Any) -> Any:
        self._reads += 1
        if self._reads == 2:
            self._end.recv(65536)
        return self._end.recvmsg(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)


def test_a_group_that_the_worker_reads_while_others_are_taken_back_is_the_workers() -> None:
    made = WorkerChannel(1, None, MemoryFilePool())  # type: ignore[arg-type]
    try:
        made.hand([Job(JobId(number), 1, b"x") for number in range(1, 3 * GROUP + 1)], {})
        made._worker_jobs = Contested(made._worker_jobs)  # type: ignore[assignment]
        taken = [number for number, _ in made.take_back()]
        assert taken == [*range(1, GROUP + 1), *range(2 * GROUP + 1, 3 * GROUP + 1)]
        assert [number for number, _ in made.take_rest()] == list(range(GROUP + 1, 2 * GROUP + 1))
        assert made.outstanding == 0
    finally:
        made.worker_results.close()
        made.close()


def test_outcomes_that_were_looked_at_and_then_sent_are_taken_once(ends: WorkerChannel, tmp_path: Path) -> None:
    # Given that between the look and the reading of what was sent, several groups were.
    hand(ends, tmp_path / "gate", closed=2, first=1)
    eventually((tmp_path / "gate.at").exists, 10)
    generation, filled = ends.page.mark()
    frames = ends.page.kept(generation, filled)
    (tmp_path / "gate").touch()
    assert [frame[1] for frame in read(ends, 2 * GROUP)] == list(range(1, 2 * GROUP + 1))
    assert ends.groups.kept(generation, frames) == []
    assert ends.page.kept(generation, filled) == b""
    assert kept(ends) == []


def test_outcomes_that_were_looked_at_twice_are_taken_once(ends: WorkerChannel, tmp_path: Path) -> None:
    # Given two looks at a worker that goes on in between, of which the later one is dealt with first.
    first, second = tmp_path / "first", tmp_path / "second"
    gates = {3: str(first), 5: str(second)}
    calls = {number: pickling.dumps_call((number, gates.get(number, "")), {}) for number in range(1, 2 * GROUP + 1)}
    ends.hand([Job(JobId(number), 1, bytes(call)) for number, call in calls.items()], {})
    eventually((tmp_path / "first.at").exists, 10)
    earlier = ends.page.mark()
    first.touch()
    eventually((tmp_path / "second.at").exists, 10)
    assert [frame[1] for frame in kept(ends)] == [1, 2, 3, 4]
    assert ends.groups.kept(earlier[0], ends.page.kept(*earlier)) == []
    second.touch()
    # Then what is sent brings the rest, and nothing twice.
    assert [frame[1] for frame in read(ends, 2 * GROUP - 4)] == list(range(5, 2 * GROUP + 1))
    assert ends.groups.kept(earlier[0], b"") == []


def test_worker_that_gave_up_a_group_before_the_node_looked_says_what_it_has_not_begun(
    ends: WorkerChannel, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    hand(ends, gate, closed=3, first=1)
    eventually((tmp_path / "gate.at").exists, 10)
    ends.take_back()
    last = ends.groups.void()
    gate.touch()
    *_, returned = read(ends, 4)
    hand(ends, gate, closed=-1, first=101)
    assert len(read(ends, 2 * GROUP)) == 2 * GROUP
    # It is at a later group by now, so the node cannot tell; but the worker has.
    assert ends.take_rest(last) == []
    assert returned[0] == RETURNED
    assert ends.take_from(int(returned[1])) == [(number, 1) for number in range(4, GROUP + 1)]  # type: ignore[call-overload]
