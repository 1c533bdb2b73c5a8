"""The nodes of a cluster as its user sees them: one object for each."""

from __future__ import annotations

from typing import Any

from gdispy import DispyNode
from gdispy.client.node_table import NodeTable
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.messages import Ended, Event, Status
from gdispy.protocol.rows import NodeRow

C = ComputationId(b"computat")
ONE, TWO = Instance(b"1" * 16), Instance(b"2" * 16)


def row(name: str, address: str = "10.0.0.1", port: int = 51348, busy: int = 0, done: int = 0) -> NodeRow:
    return NodeRow(name, address, port, 4, busy, done, 0.5 * done, 10 * done, 20 * done)


def event(node: Instance, row: list[Any], what: int = DispyNode.Initialized) -> Event:
    return Event(C, what, node, [row], [])


def ended(count: int) -> Ended:
    columns: list[list[Any]] = [[1] * count, [11] * count, [b"xy"] * count, [b""] * count, [b""] * count, [""] * count]
    jobs = [JobId(number) for number in range(count)]
    return Ended(C, jobs, *columns, [1.0] * count, [3.0] * count, [0] * count, [0] * count, "10.0.0.1", ONE)


def test_a_node_is_one_object_as_long_as_the_cluster_lives() -> None:
    table = NodeTable()
    node = table.take(event(ONE, row("one")))
    assert table.get(ONE) is node and table.of_row(row("one", done=3)) is node and node.jobs_done == 3
    table.take(event(ONE, row("one"), DispyNode.Closed))
    assert table.get(ONE) is None and table.all() == [node]
    assert table.take(event(TWO, row("one"))) is node


def test_versions_of_nodes_are_those_of_the_last_report_that_has_them() -> None:
    table = NodeTable()
    node = table.take(event(ONE, row("one")))
    assert node.versions == ""
    assert table.take_status(Status(C, 1, [row("one", done=3)], 0, [], ["gdispy 1, Python 3"])) == [node]
    table.take_status(Status(C, 1, [row("one", done=4)], 0, []))
    assert (node.versions, node.jobs_done) == ("gdispy 1, Python 3", 4)


def test_nodes_behind_one_router_are_different_ones() -> None:
    table = NodeTable()
    one, two = table.take(event(ONE, row("one", port=0))), table.take(event(TWO, row("two", port=0)))
    assert one is not two and table.of_row(row("two", port=0)) is two


def test_a_node_is_found_by_its_object_its_address_its_name_and_its_host_name() -> None:
    table = NodeTable()
    node = table.take(event(ONE, row("one", "127.0.0.1", 5000)))
    for wanted in ((node, "", None), (None, "127.0.0.1", None), (None, "one", 5000), (None, "localhost", 5000)):
        assert table.find(*wanted) == ONE
    assert table.find(None, "localhost", 5001) is None and table.find(None, "other.invalid", None) is None
    table.take(event(ONE, row("one", "127.0.0.1", 5000), DispyNode.Closed))
    assert table.find(node, "", None) is None and table.find_closed(node, "", None) == ONE


def test_what_ends_is_counted_once_whoever_counts_it_first() -> None:
    node = NodeTable().take(event(ONE, row("one")))
    node.began(100)
    assert (node.busy, node.tx) == (1, 100)
    node.finished(ended(3), None, 1, 50)
    assert (node.busy, node.jobs_done, node.cpu_time, node.tx, node.rx) == (0, 3, 6.0, 150, 6)
    node.finished(ended(3), [1], 0, 0)
    assert (node.jobs_done, node.cpu_time, node.rx) == (4, 8.0, 8)
    node.update(row("one", done=2))  # The scheduler says no more than what was counted here.
    assert (node.jobs_done, node.cpu_time) == (4, 8.0)
    node.update(row("one", busy=2, done=9))
    assert (node.busy, node.jobs_done, node.tx, node.rx) == (2, 9, 150, 180)


def test_job_that_the_scheduler_has_reported_before_its_start_counts_once() -> None:
    node = NodeTable().take(event(ONE, row("one", busy=1)))
    node.began(0)
    assert node.busy == 1
    node.finished(ended(1), None, 1, 0)
    assert node.busy == 0
    node.began(0)
    node.update(row("one", busy=1))
    node.began(0)
    assert node.busy == 2
    node.finished(ended(1), None, 1, 0)
    assert node.busy == 1
    node.update(row("one", busy=0))  # The other one runs elsewhere.
    node.began(0)
    assert node.busy == 1
    node.closed()
    node.began(0)
    assert node.busy == 1


def test_what_a_program_sees_of_a_node_is_plain() -> None:
    node = DispyNode("10.0.0.1", "one", 4)
    assert all(isinstance(value, (str, int, float, type(None))) for value in vars(node).values())
    assert (node.ip_addr, node.name, node.cpus, node.avail_cpus, node.busy) == ("10.0.0.1", "one", 4, 4, 0)
