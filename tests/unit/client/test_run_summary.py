"""The figures of a run."""

from __future__ import annotations

import random

import pytest

from gdispy.client import run_summary
from gdispy.client.run_record import JobRecord
from gdispy.client.run_summary import BINS, Distribution, Lanes, summarize
from gdispy.protocol.job_status import ABANDONED, CANCELLED, FINISHED, TERMINATED


def job(
    number: int, started: float, ended: float, node: str = "a", status: int = FINISHED, error: str = ""
) -> JobRecord:
    return JobRecord(number, status, 100.0, 100.0 + started, 100.0 + ended, node, error)


def test_two_nodes_with_one_failure() -> None:
    rows = [
        job(1, 0, 5),
        job(2, 0, 10, "b", TERMINATED, "ValueError: 5"),
        job(3, 5, 10),
        job(4, 0, 10),
    ]
    found = summarize("f", lambda: iter(rows))
    assert (found.jobs, found.wall, found.lanes) == (4, 10.0, 3)
    assert found.efficiency == pytest.approx(1.0) and found.outcomes == {"Finished": 3, "Terminated": 1}
    assert found.reasons == {"ValueError: 5": 1} and found.nodes["a"].lanes == 2 and found.nodes["b"].failed == 1
    assert [each.job for each in found.stragglers] == [4, 2, 3, 1]
    assert sum(found.nodes["a"].bins) == pytest.approx(20.0) and len(found.nodes["a"].bins) == BINS
    assert found.waiting.most == 5.0 and found.running.total == 30.0


def test_idle_time_lowers_the_efficiency() -> None:
    assert summarize("f", lambda: iter([job(1, 5, 10)])).efficiency == pytest.approx(0.5)


def test_job_that_never_started_counts_without_times() -> None:
    never = JobRecord(2, CANCELLED, 100.0, 101.0, 101.0, "lab", "")
    found = summarize("f", lambda: iter([never]))
    assert found.jobs == 1 and found.running.count == found.waiting.count == found.lanes == 0
    found = summarize("f", lambda: iter([JobRecord(1, ABANDONED, 100.0, 0.0, 0.0, "", "no node can run it")]))
    assert found.outcomes == {"Abandoned": 1} and found.nodes == {} and found.running.count == 0
    assert found.wall == 0.0 == found.efficiency


def test_nothing_has_run() -> None:
    found = summarize("f", lambda: iter(()))
    assert (found.jobs, found.wall, found.efficiency, found.stragglers) == (0, 0.0, 0.0, [])


def test_clocks_that_differ_give_no_negative_times() -> None:
    found = summarize("f", lambda: iter([job(1, -50, -40)]))
    assert found.waiting.total == 0.0 and found.running.total == pytest.approx(10.0)
    assert sum(found.nodes["a"].bins) >= 0.0


def test_many_reasons_and_nodes_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_summary, "REASONS", 2)
    monkeypatch.setattr(run_summary, "NODES", 2)
    rows = [job(number, 0, 1, f"node{number}", TERMINATED, f"error {number}") for number in range(5)]
    found = summarize("f", lambda: iter(rows))
    assert found.reasons == {"error 0": 1, "error 1": 1, "other reasons": 3}
    assert set(found.nodes) == {"node0", "node1", "other nodes"} and found.nodes["other nodes"].jobs == 3


def test_percentiles_are_right_to_a_few_per_cent() -> None:
    found = Distribution()
    values = [random.Random(1).expovariate(1.0) for _ in range(1)] + [
        random.Random(n).expovariate(1.0) for n in range(2000)
    ]
    for value in values:
        found.add(value)
    for part in (0.5, 0.9, 0.99):
        exact = sorted(values)[int(part * len(values)) - 1]
        assert found.percentile(part) == pytest.approx(exact, rel=0.06)
    assert found.percentile(1.0) == max(values) and Distribution().percentile(0.5) == 0.0


def test_lanes_are_as_few_as_jobs_ran_at_the_same_time() -> None:
    lanes = Lanes()
    assert [lanes.place(*each) for each in [(0, 1), (0, 2), (1, 3), (2, 4), (0, 5)]] == [0, 1, 0, 1, 2]
    assert len(lanes) == 3
