"""Texts of peers in logs and tables: one line, nothing that a terminal obeys, and short; and not too often."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.cli import nodes
from gdispy.cli.explain import grouped
from gdispy.cli.logs import line
from gdispy.cli.status import job_lines, overview_lines
from gdispy.client.engine import ClusterEngine
from gdispy.client.explanation import Explanation
from gdispy.client.node_control import NodeControl
from gdispy.client.status import ClusterStatus, DispyNode, table
from gdispy.node import Node
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.limits import PRINTED_LIMIT, PRINTED_LINES_LIMIT, printable, printable_lines
from gdispy.protocol.messages import Overview, Reply, RunningJobs
from gdispy.protocol.rate_limit import LogLimit
from gdispy.protocol.rows import LogRow, RunningJobRow
from gdispy.rules.client.effects import Notify
from gdispy.runtime.limited_log import LimitedLog


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("node-1.lab", "node-1.lab"),
        ("Größe 中文", "Größe 中文"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x1b[0m\x9b2J", r"\x1b[31mred\x1b[0m\x9b2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\u202egnp.exe\u2066b\u2069\u200f\u061c", r"a\u202egnp.exe\u2066b\u2069\u200f\u061c"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\udcff\U000e0001\x7f\0", r"\udcff\U000e0001\x7f\x00"),
    ],
)
def test_what_no_line_may_hold_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_text_of_several_lines_keeps_those_and_nothing_else() -> None:
    assert printable_lines("a\n  b\x1b[2J\r\n") == "a\n  b\\x1b[2J\\r\n"


@given(st.text(max_size=200), st.integers(0, 100))
def test_text_is_printable_and_not_longer_than_its_limit(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown.encode()) <= limit and shown.isprintable()
    if text.isprintable() and len(text.encode()) <= limit:
        assert shown == text


def test_long_text_is_cut_with_a_mark() -> None:
    assert printable("é" * 600) == "é" * ((PRINTED_LIMIT - 5) // 2) + "[...]"
    assert printable("x" * 10_000_000).endswith("x[...]")
    assert len(printable("\n" * 1024)) == PRINTED_LIMIT


# How often


def test_one_line_a_second_for_each_key_and_how_many_were_left_out() -> None:
    limit = LogLimit()
    assert [limit.admit("a", now) for now in (0.0, 0.5, 0.9, 1.0, 1.5, 3.0)] == [0, None, None, 2, None, 1]
    assert limit.admit("b", 3.0) == 0


def test_keys_that_are_remembered_are_bounded() -> None:
    limit = LogLimit(memory=3)
    for key in range(100_000):
        limit.admit(key, 0.0)
    assert len(limit._known) == 3


def test_lines_are_printable_and_say_how_many_were_left_out(caplog: Any) -> None:
    now = [0.0]
    log = LimitedLog(logging.getLogger("gdispy.test"), clock=lambda: now[0])
    with caplog.at_level(logging.INFO, "gdispy.test"):
        for _ in range(1000):
            log.log(logging.INFO, "peer", "%s says %d", "a\x1b\nb", 5)
        now[0] = 1.0
        log.log(logging.INFO, "peer", "%s says %d", "c", 6)
        log.log(logging.DEBUG, "other", "not said at all")
    assert [each.message for each in caplog.records] == [
        r"a\x1b\nb says 5",
        "c says 6 (999 such lines were suppressed)",
    ]


# Tables and messages that hold texts of peers

HOSTILE = "\x1b[2J\u202elab\n\x07" + "x" * 5000
SHOWN = r"\x1b[2J\u202elab\n\x07"


def assert_clean(text: str, limit: int = 4 * PRINTED_LIMIT) -> None:
    assert all(char.isprintable() or char == "\n" for char in text)
    assert max(len(line.encode()) for line in text.split("\n")) <= limit


def test_tables_of_a_cluster_and_of_a_scheduler() -> None:
    node = DispyNode("10.0.0.1", HOSTILE, 2)
    shown = table(ClusterStatus([node], 0, [f"10.0.0.2: {HOSTILE}"]), 1.0)
    assert_clean(shown, PRINTED_LINES_LIMIT)
    assert r"10.0.0.1 (\x1b[2J\u202elab" in shown and r"Problem: 10.0.0.2: \x1b[2J\u202elab" in shown
    assert_clean(repr(node))
    rows = [[HOSTILE, HOSTILE, 51348, 2, 1, True]], [[HOSTILE, HOSTILE, HOSTILE, 1, 2]]
    lines = overview_lines(Overview(1, *rows))
    assert len(lines) == 5 and all(map(str.isprintable, lines))
    assert_clean("\n".join(lines))


def test_running_jobs_facts_and_logs_of_a_scheduler() -> None:
    row = RunningJobRow(ComputationId(b"c" * 8), JobId(1), 7, 1e299, 1e299, 1 << 52, *[HOSTILE] * 4)
    lines = job_lines(RunningJobs(1, [row], 1 << 52, [HOSTILE]))
    assert len(lines) == 4 and all(map(str.isprintable, lines))
    assert_clean("\n".join(lines), 10 * PRINTED_LIMIT)
    assert_clean(str(Explanation(grouped([HOSTILE, HOSTILE] * 3)[0])), PRINTED_LINES_LIMIT)
    assert_clean(line(LogRow(Instance(b"i" * 16), 1, -1e299, HOSTILE, HOSTILE, HOSTILE)), 2 * PRINTED_LINES_LIMIT)


def test_table_of_nodes_that_are_found() -> None:
    found = nodes.Found(HOSTILE, HOSTILE, HOSTILE, HOSTILE, clients=[HOSTILE], problem=HOSTILE, relay=HOSTILE)
    lines = nodes.lines([found])
    assert len(lines) == 2 and all(map(str.isprintable, lines)) and SHOWN in lines[1]


def test_reply_of_a_node_in_the_log(caplog: Any) -> None:
    cluster: Any = SimpleNamespace(_ask_about=lambda *args: Reply(ComputationId(b"c" * 8), 1, HOSTILE, -1.0, []))
    NodeControl._order(cluster, "close", b"")
    assert_clean(caplog.records[0].getMessage(), PRINTED_LINES_LIMIT)


def test_trouble_that_a_scheduler_tells_of_is_one_line_a_second(caplog: Any) -> None:
    settings = SimpleNamespace(key=SimpleNamespace(place="lab:51347"))
    client: Any = SimpleNamespace(_log=LimitedLog(logging.getLogger("gdispy.test")), _settings=settings)
    for number in range(100):
        ClusterEngine._notify(client, Notify(f"{number} {HOSTILE}"))
    assert len(caplog.records) == 1
    assert_clean(caplog.records[0].getMessage(), PRINTED_LINES_LIMIT)


def test_what_clients_of_a_node_call_themselves_on_its_console() -> None:
    slots = SimpleNamespace(
        standing=lambda now: [f"client {HOSTILE}: away"], clients=lambda: ([], [HOSTILE]), give_up=0
    )
    node: Any = SimpleNamespace(_rules=slots, _began=0.0, _name="lab", host="h", port=1)
    node._pump = SimpleNamespace(put=lambda *args: None)
    for text in (*Node.status(node), Node.release(node)):
        assert text.isprintable() and len(text) <= PRINTED_LIMIT
