"""How a node stands, in lines."""

from __future__ import annotations

import pytest

from gdispy.protocol.ids import JobId
from gdispy.rules.node.status import NodeStatus, client_line, computation_line, cpu_line
from tests.unit.rules.node.building import A, Jobs, Served, job, session


def test_cpus_are_told_with_the_reasons_for_fewer() -> None:
    assert cpu_line(4, 4, [], 1) == "CPUs: 4, busy: 1"
    assert cpu_line(0, 4, ["stopped", "service hours"], 1) == "CPUs: 0 of 4 (stopped, service hours), busy: 1"


def test_jobs_of_a_computation_are_counted() -> None:
    jobs = Jobs(1, 2, 3)
    jobs.table.hand_first(jobs.worker(), 1, 0.0)
    jobs.table.end_next(jobs.computation, "", 1.0)
    expected = "computation f of client, jobs: 1 running, 1 waiting, 1 done, 1 not collected"
    assert computation_line(jobs.computation) == expected


@pytest.mark.parametrize(
    ("peer", "expires", "expected"),
    [
        (A, None, "client client: connected"),
        (None, None, "client client: leaving"),
        (None, 180.0, "client client: away; its jobs and results are kept for 2 minutes"),
    ],
)
def test_client_is_connected_leaving_or_away(peer: object, expires: float | None, expected: str) -> None:
    made = session(peer=peer)  # type: ignore[arg-type]
    made.expires = expires
    assert client_line(made, 60.0) == expected


def test_all_of_it_is_told_to_the_owner_and_in_rows_to_visitors() -> None:
    served = Served()
    served.join()
    served.bring()
    here = next(iter(served.state.computations.values()))
    served.jobs.table.accept(here, job(1), 0.0)
    status = NodeStatus(served.state, served.jobs.capacity, served.sessions)
    assert [line.split()[0] for line in status.standing(0.0)] == ["CPUs:", "computation", "client"]
    assert status.overview("n", "h", 1) == ([("n", "h", 1, 2, 0, True)], [("client", "", "f", 1, 0)], [])
    served.jobs.capacity.shut("draining")
    assert status.overview("n", "h", 1)[2] == ["draining"]
    served.sessions.finish()
    assert status.standing(0.0)[-1] == "it stops when its current work is done"


def test_node_is_idle_when_nothing_runs_and_connected_schedulers_have_everything() -> None:
    jobs = Jobs(1, 2)
    status = NodeStatus(jobs.state, jobs.capacity, Served().sessions)
    assert not status.is_idle() and not status.has_returned()
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 0.0)
    jobs.table.hand_more(worker, 1)
    assert not status.has_returned()  # One has not begun.
    jobs.table.put_back(worker, [(JobId(2), 1)], 0.0)
    jobs.table.give_back()
    assert status.has_returned() and not status.is_idle()
    jobs.table.put_back(worker, [(JobId(1), 1)], 0.0)
    jobs.table.end_next(jobs.computation, "", 1.0)
    assert not status.is_idle()  # Its outcome has not been acknowledged.
    jobs.computation.session.peer = None
    assert status.is_idle()
