"""The status of a cluster: its nodes, its table, its problems. Texts of peers: `tests/unit/protocol/test_limits.py`."""

from __future__ import annotations

import pytest

from gdispy import DispyNode
from gdispy.client.status import ClusterStatus, DispyNodeAvailInfo, size, table
from gdispy.protocol.rows import NodeRow


def node(address: str, name: str = "worker", done: int = 0, seconds: float = 0.0, port: int = 51348) -> DispyNode:
    return DispyNode.of(NodeRow(name, address, port, 4, 0, done, seconds, 2048, 100))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 K"),
        (1536, "1.5 K"),
        (3 << 20, "3.0 M"),
        (5 << 30, "5.0 G"),
        (7 << 40, "7.0 T"),
        (2000 << 40, "2000.0 T"),
    ],
)
def test_size_has_the_largest_unit_that_fits(count: int, text: str) -> None:
    assert size(count) == text


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]


def test_table_has_a_row_for_each_node_in_the_order_of_addresses() -> None:
    nodes = [node("10.0.0.9", "b", 4, 2.0), node("10.0.0.1", "a-very-long-name"), node("10.0.0.1", "c", port=5)]
    lines = rows(table(ClusterStatus(nodes, 0, []), 1.0))
    assert lines[3:6] == [
        ["10.0.0.1:5 (c)", "4", "0", "0.0000", "0.000", "2.0 K", "100 B"],
        ["10.0.0.1:51348 (a-very-long-)", "4", "0", "0.0000", "0.000", "2.0 K", "100 B"],
        ["10.0.0.9:51348 (b)", "4", "4", "0.5000", "2.000", "2.0 K", "100 B"],
    ]


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (2.0, "Total job time: 6.000 sec, wall time: 2.000 sec, speedup: 3.000"),
        (0.0, "Total job time: 6.000 sec, wall time: 0.000 sec, speedup: 0.000"),
    ],
)
def test_table_ends_with_the_total_time_and_the_speedup(wall: float, text: str) -> None:
    nodes = [node("10.0.0.9", done=4, seconds=2.0), node("10.0.0.8", done=1, seconds=4.0)]
    assert table(ClusterStatus(nodes, 0, []), wall).splitlines()[-1] == text


def test_pending_jobs_and_problems_are_shown_if_there_are_any() -> None:
    text = table(ClusterStatus([], 3, ["10.0.0.9: no answer"]), 1.0)
    assert "Jobs pending: 3" in text and text.endswith("\nProblem: 10.0.0.9: no answer")
    assert "Jobs pending" not in table(ClusterStatus([], 0, []), 1.0)


def test_status_is_a_pair_as_in_dispy() -> None:
    status = ClusterStatus([], 2, ["a"], True)
    nodes, pending = status
    assert (nodes, pending, status.problems, status.is_hopeless) == ([], 2, ["a"], True)
    assert not ClusterStatus([], 2, []).is_hopeless


def test_free_resources_are_numbers_with_names_or_nothing() -> None:
    info = DispyNodeAvailInfo.of([12.5, 1e9, 2e9, 80.0])
    assert info == DispyNodeAvailInfo(12.5, 10**9, 2 * 10**9, 80.0) and tuple(info) == (12.5, 10**9, 2 * 10**9, 80.0)
    assert isinstance(info.memory, int) and repr(info).startswith("DispyNodeAvailInfo(cpu=12.5, memory=1000000000,")
    assert info != DispyNodeAvailInfo(12.5, 10**9, 2 * 10**9, 81.0) and info != (12.5, 10**9, 2 * 10**9, 80.0)
    assert DispyNodeAvailInfo.of([]) is None


def test_report_of_the_scheduler_never_takes_back_what_was_counted() -> None:
    made = node("10.0.0.9", "before", 5, 2.0)
    made.update(NodeRow("after", "10.0.0.8", 5, 8, 3, 4, 1.0, 0, 200))
    assert (made.name, made.ip_addr, made.port, made.cpus, made.avail_cpus, made.busy) == (
        "after",
        "10.0.0.8",
        5,
        8,
        8,
        3,
    )
    assert (made.jobs_done, made.cpu_time, made.tx, made.rx) == (5, 2.0, 2048, 200)


def test_provisional_results_count_as_received() -> None:
    made = DispyNode("10.0.0.9", "worker", 4)
    made.received(10)
    made.received(5)
    assert made.rx == 15


def test_node_shows_its_name_and_address() -> None:
    assert repr(node("fd00::9")) == "<DispyNode worker [fd00::9]:51348>"
