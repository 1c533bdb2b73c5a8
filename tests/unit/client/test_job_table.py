"""What the messages about jobs change in the user's jobs, and what callbacks get."""

from __future__ import annotations

import contextlib
import logging
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy import DispyJob, DispyNode
from gdispy.client.job import ARGUMENTS_LIMIT
from gdispy.client.job_table import JobTable
from gdispy.client.node_table import NodeTable
from gdispy.client.packaging import ComputationOptions
from gdispy.client.settings import ClusterSettings
from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.job_status import ABANDONED, CANCELLED, CREATED, FINISHED, PROVISIONAL_RESULT, RUNNING, TERMINATED
from gdispy.protocol.messages import Ended, Event, Progress, Started
from gdispy.protocol.rows import NodeRow
from gdispy.runtime.gate import Gate
from gdispy.worker import pickling, plain
from tests.unit.builders import C, ended, outcome

NODE = Instance(b"n" * 16)
PLACE = "10.0.0.9"


class Made:
    """A table with jobs 1, 2 and 3 of a node; callbacks are called when they are given."""

    def __init__(self, **settings: Any) -> None:
        has_job = settings.pop("callback", True)
        has_status = settings.pop("cluster_status", True)
        self.recovery: Any = settings.pop("recovery", None)
        takes_files = settings.pop("takes_files", False)
        self.seen: list[tuple[int, int, Any]] = []
        self.statuses: list[tuple[int, Any, Any]] = []
        self.counts: list[tuple[int, int]] = []
        self.nodes = NodeTable()
        row = NodeRow("worker", PLACE, 51348, 4, 0, 0, 0.0, 0, 0)
        self.node = self.nodes.take(Event(C, DispyNode.Initialized, NODE, [row], []))
        callbacks: Any = SimpleNamespace(
            on_job=self._on_job if has_job else None,
            on_status=self._on_status if has_status else None,
            give=lambda function, *args: function(*args),
            give_status=lambda node, job: self._on_status(job.status, node, job),
        )
        count: Any = SimpleNamespace(end=lambda *numbers: self.counts.append(numbers))
        key: Any = None
        values = {"key": key, "node_port": 51348, "is_program": False}
        self.table = JobTable(
            "f", ClusterSettings(**{**values, **settings}), self.recovery, self.nodes, callbacks, count
        )
        self.table.takes_files = takes_files
        self.jobs = [self.add(number) for number in (1, 2, 3)]

    def add(self, number: int, arguments: bytes = b"args") -> DispyJob:
        job = self.table.jobs[JobId(number)] = DispyJob._new(number, 0.5, arguments)
        return job

    def _on_job(self, job: DispyJob) -> None:
        self.seen.append((job.id, job._status, job.ip_addr))

    def _on_status(self, status: int, node: Any, job: Any) -> None:
        self.statuses.append((status, node, job.id))

    def begin(self, *numbers: int, start: float = 5.0) -> None:
        jobs = [JobId(number) for number in numbers]
        self.table.begin(Started(C, jobs, [1] * len(jobs), [start] * len(jobs), PLACE, NODE))

    def end(self, *rows: tuple[Any, ...], picks: list[int] | None = None) -> None:
        self.table.end(self.ended(*rows), picks)

    def ended(self, *rows: tuple[Any, ...]) -> Ended:
        return ended(*rows, address=PLACE, node=NODE)

    def provide(self, number: int, value: Any) -> None:
        self.table.provide(Progress(C, JobId(number), 1, 0, value, PLACE, NODE))


def result(value: Any) -> Any:
    return pickling.dumps(value)


def test_ended_job_has_its_result_its_times_and_its_node_and_leaves_the_table() -> None:
    made = Made()
    made.end(outcome(2, result=result({"a": 1}), start=6.0, end=8.0))
    job = made.jobs[1]
    assert (job.status, job.result, job.start_time, job.end_time, job.ip_addr) == (FINISHED, {"a": 1}, 6.0, 8.0, PLACE)
    assert (job.stdout, job.stderr, job.exception) == ("", "", None)
    assert set(made.table.jobs) == {1, 3} and made.counts == [(1, 0)]


def test_only_the_picked_jobs_of_a_message_end() -> None:
    made = Made()
    made.end(outcome(7), outcome(1, status=TERMINATED, exception="failed"), outcome(8), outcome(3), picks=[1, 3])
    assert set(made.table.jobs) == {2} and made.counts == [(2, 1)]
    assert (made.jobs[0].status, made.jobs[0].exception) == (TERMINATED, "failed")
    assert made.node.jobs_done == 2


def test_start_that_was_reported_before_is_kept_if_the_end_lacks_it() -> None:
    made = Made()
    made.begin(1)
    made.end(outcome(1, status=ABANDONED, start=0.0, end=0.0))
    assert (made.jobs[0].start_time, made.jobs[0].end_time) == (5.0, None)


def test_waiters_wake_up_after_all_jobs_of_a_message_have_ended() -> None:
    made = Made()
    states: list[list[int]] = []
    for job in made.jobs[:2]:
        gate = job._gate = Gate()
        gate.tell(lambda: states.append([job._status for job in made.jobs]))
    made.end(outcome(1), outcome(2), outcome(3))
    assert states == [[FINISHED] * 3] * 2


def test_message_that_fails_midway_counts_and_wakes_what_has_ended() -> None:
    made = Made()
    made.jobs[0]._gate = Gate()
    del made.table.jobs[JobId(2)]
    with pytest.raises(KeyError):
        made.end(outcome(1), outcome(2))
    assert made.counts == [(1, 0)] and made.jobs[0]._gate.wait(0)


def test_large_arguments_are_dropped_at_the_end_and_small_ones_stay() -> None:
    made = Made()
    large: Any = SimpleNamespace(size=ARGUMENTS_LIMIT + 1)
    made.jobs[0]._arguments = large
    made.end(outcome(1), outcome(2))
    assert made.jobs[0]._arguments is None and made.jobs[1]._arguments == b"args"
    assert made.node.tx == ARGUMENTS_LIMIT + 1 + 4


# Callbacks


def test_callbacks_get_each_change_of_a_job_in_its_order() -> None:
    made = Made()
    made.begin(1)
    made.provide(1, result("half"))
    made.end(outcome(1))
    assert [(status, number) for status, _, number in made.statuses] == [
        (RUNNING, 1),
        (PROVISIONAL_RESULT, 1),
        (FINISHED, 1),
    ]
    assert made.seen == [(1, PROVISIONAL_RESULT, PLACE), (1, FINISHED, PLACE)]
    assert all(node is made.node for _, node, _ in made.statuses)


def test_start_of_a_job_that_is_known_by_its_end_only_is_reported_too() -> None:
    made = Made()
    made.end(outcome(1, start=6.0), outcome(2, status=ABANDONED, start=0.0))
    assert [(status, number) for status, _, number in made.statuses] == [(RUNNING, 1), (FINISHED, 1), (ABANDONED, 2)]


def test_callback_for_an_end_is_called_once_over_all_runs_of_the_program() -> None:
    told: list[int] = []
    made = Made(recovery=SimpleNamespace(missing=0, told=told.append))
    made.table.told = {JobId(2)}
    made.end(outcome(1), outcome(2))
    assert made.seen == [(1, FINISHED, PLACE)] and told == [1]


def test_end_is_noted_although_its_callback_has_failed() -> None:
    told: list[int] = []
    made = Made(recovery=SimpleNamespace(missing=0, told=told.append))
    made.table._callbacks.on_job = lambda job: 1 / 0
    with pytest.raises(ZeroDivisionError):
        made.end(outcome(1))
    assert told == [1]


def test_jobs_without_a_result_keep_the_recovery_file_unless_they_were_cancelled() -> None:
    recovery = SimpleNamespace(missing=0, told=lambda number: None)
    made = Made(recovery=recovery)
    made.jobs[2]._status = CANCELLED
    made.end(outcome(1), outcome(2, status=TERMINATED), outcome(3, status=CANCELLED))
    assert recovery.missing == 1


# Starts and provisional results


def test_start_is_taken_once_and_only_of_jobs_in_the_table() -> None:
    made = Made()
    made.begin(1, 99)
    made.begin(1, start=7.0)
    assert (made.jobs[0].status, made.jobs[0].start_time, made.jobs[0].ip_addr) == (RUNNING, 5.0, PLACE)
    assert made.node.busy == 1 and len(made.statuses) == 1


def test_cancelled_job_stays_cancelled_whatever_it_still_does() -> None:
    made = Made()
    made.jobs[0]._status = CANCELLED
    made.begin(1)
    assert made.jobs[0]._status == CANCELLED and made.statuses == []
    made.provide(1, result(5))
    assert made.jobs[0]._status == CANCELLED and made.seen == [(1, PROVISIONAL_RESULT, PLACE)]


def test_provisional_result_is_the_result_until_the_next() -> None:
    made = Made()
    for value in (5, 6):
        made.provide(1, result(value))
        assert made.jobs[0].status == PROVISIONAL_RESULT and made.jobs[0].result == value
    made.provide(99, b"late")
    assert made.node.rx == 2 * len(result(5))


def test_jobs_of_a_lost_node_run_again_if_they_may() -> None:
    made = Made(reentrant=True)
    made.begin(1, 2)
    made.jobs[1]._status = CANCELLED
    made.statuses.clear()
    made.table.lose_node(b"x" * 16)
    assert made.statuses == []
    made.table.lose_node(NODE)
    job = made.jobs[0]
    assert (job.status, job.start_time, job.ip_addr) == (CREATED, None, None)
    assert [(status, number) for status, _, number in made.statuses] == [(ABANDONED, 1)]
    assert made.jobs[1]._status == CANCELLED
    made.table.lose_node(NODE)
    assert len(made.statuses) == 1


# Output


@pytest.mark.parametrize(("is_program", "expected"), [(False, "caf\N{REPLACEMENT CHARACTER}"), (True, b"caf\xff")])
def test_output_of_a_function_is_text_and_that_of_a_program_bytes(is_program: bool, expected: Any) -> None:
    made = Made(is_program=is_program)
    made.end(outcome(1, stdout=b"caf\xff"), outcome(2))
    assert made.jobs[0].stdout == expected and made.jobs[0].stderr == type(expected)()
    assert made.jobs[1].stdout == type(expected)()


def test_output_that_was_dropped_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    made = Made(jobs=ComputationOptions(output_limit=1000))
    made.end(outcome(1, stdout=b"x" * 1000, truncated=234), outcome(2, stdout=b"x"))  # type: ignore[arg-type]
    assert made.jobs[0].truncated and not made.jobs[1].truncated
    assert caplog.messages == [
        "f: job 1 has printed 1,234 bytes, of which 234 were dropped: output_limit is 1,000 bytes per stream"
    ]


# Abandoned jobs


def test_result_of_an_abandoned_job_that_arrives_late_is_kept_apart(caplog: pytest.LogCaptureFixture) -> None:
    made = Made()
    made.end(outcome(1, status=ABANDONED, exception="lost"), outcome(2, status=ABANDONED))
    made.table.take_late(made.ended(outcome(9), outcome(1, result=result(7)), outcome(2, status=TERMINATED)), [0, 1, 2])
    job = made.jobs[0]
    assert (job.status, job.exception, job.late_result) == (ABANDONED, "lost", 7)
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "see job.late_result" in caplog.text


def test_all_jobs_end_when_gdispy_has_failed() -> None:
    made = Made()
    waiting = DispyJob._new(9, 0.5, b"")
    states: list[int] = []
    gate = waiting._gate = Gate()
    gate.tell(lambda: states.extend(job._status for job in made.jobs))
    made.table.give_up([waiting], "a defect")
    assert made.table.jobs == {} and made.counts == [(4, 4)]
    assert all((job.status, job.exception) == (ABANDONED, "a defect") for job in [*made.jobs, waiting])
    assert states == [ABANDONED] * 3


class Dangerous:
    """Unpickling it has an effect."""

    def __reduce__(self) -> Any:
        return ran.append, (None,)


ran: list[None] = []


def test_results_of_a_cluster_for_plain_data_are_never_unpickled() -> None:
    made = Made(results="plain")
    made.end(outcome(1, result=pickle.dumps(Dangerous())), outcome(2, result=plain.dumps([1, "a"], "x")))
    made.provide(3, pickle.dumps(Dangerous()))
    for job in (made.jobs[0], made.jobs[2]):
        with contextlib.suppress(Exception):
            assert job.result is None
    assert ran == [] and made.jobs[1].result == [1, "a"]


def test_reports_tell_nodes_of_one_name_apart() -> None:
    made = Made()
    second = Instance(b"2" * 16)
    row = NodeRow("worker", PLACE, 51349, 4, 0, 0, 0.0, 0, 0)
    made.nodes.take(Event(C, DispyNode.Initialized, second, [row], []))
    made.end(outcome(1))
    made.table.end(ended(outcome(2), address=PLACE, node=second), None)
    made.end(outcome(3))
    assert [record.node for record in made.table.record.rows()] == ["worker", "worker (2)", "worker"]
