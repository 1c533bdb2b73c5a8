"""Logs of several daemons."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gdispy.protocol.ids import Instance
from gdispy.protocol.messages import LogEvents, LogRequest
from gdispy.protocol.rows import LogPosition, LogRow
from gdispy.runtime.log_buffer import TEXT, LogBuffer
from gdispy.shared_scheduler.log_collection import BYTES, LogCollection
from tests.unit.rules.scheduler.builders import A, B, Parts
from tests.unit.shared_scheduler.building import RUN

ONE, TWO = Instance(bytes([1]) * 16), Instance(bytes([2]) * 16)


def request(node: str = "", limit: int = 30_000, positions: Any = ()) -> LogRequest:
    return LogRequest(1, 60.0, limit, node, list(positions))


def collection(message: LogRequest) -> LogCollection:
    parts = Parts()
    return LogCollection(message, [parts.join(A), parts.join(B)])


def row(number: int, text: str = "text", log: Instance = ONE) -> LogRow:
    return LogRow(log, number, 1.0, "INFO", "scheduler", text)


def test_each_node_is_asked_for_its_part_from_its_position_on() -> None:
    logs = collection(request(positions=[LogPosition(TWO, 5), LogPosition(RUN, 9)]))
    assert logs.request(logs.nodes[0], 7) == LogRequest(7, 60.0, 10_000, "", [])
    assert logs.request(logs.nodes[1], 7) == LogRequest(7, 60.0, 10_000, "", [LogPosition(TWO, 5)])
    assert collection(request(limit=1 << 52)).request(logs.nodes[0], 7).limit == BYTES // 3


def test_records_are_those_of_the_node_that_sent_them_whatever_it_says() -> None:
    logs = collection(request())
    logs.take(logs.nodes[1], LogEvents(1, "", [row(1), row(2, log=RUN)], 3))
    assert [(each.log, each.where) for each in logs.rows] == [(TWO, "10.0.0.2:51348 (node2)")] * 2
    assert logs.left_out == 3


def test_node_cannot_send_more_than_its_part() -> None:
    logs = collection(request())
    rows = [LogRow(ONE, 1, 1.0, "L" * 1000, "", "x" * 1_000_000), *(row(2, "y" * 900) for _ in range(50))]
    logs.take(logs.nodes[0], LogEvents(1, "", rows, 1 << 52))
    assert 2 <= len(logs.rows) <= 8 and len(logs.rows[0].text) == TEXT and len(logs.rows[0].level) == 20
    assert logs.left_out <= 1 << 40


def test_scheduler_adds_its_own() -> None:
    logs, log = collection(request(positions=[LogPosition(RUN, 1)])), LogBuffer()
    for text in ("a", "b"):
        log.handle(logging.LogRecord("gdispy", logging.ERROR, "", 0, text, (), None))
    logs.take_own(log, RUN)
    [found] = logs.rows
    assert (found.log, found.number, found.level, found.where, found.text) == (RUN, 1, "ERROR", "scheduler", "b")


@pytest.mark.parametrize(
    ("node", "names"),
    [("node2", ["node2"]), ("10.0.0.1:51348", ["node1"]), ("10.0.0.*", ["node1", "node2"]), ("", ["node1", "node2"])],
)
def test_nodes_are_chosen_by_name_and_address(node: str, names: list[str]) -> None:
    logs = collection(request(node))
    assert [each.name for each in logs.nodes] == names and not logs.error


@pytest.mark.parametrize("node", ["node3", "10.0.0.1:1", "a:b:c:", "x" * 100_000, "\x1b"])
def test_unknown_node_is_an_error(node: str) -> None:
    logs = collection(request(node))
    assert logs.error.startswith("the scheduler has no node '") and logs.error.isprintable()
