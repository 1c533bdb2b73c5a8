"""What `gdispy usage` shows of a scheduler's history."""

from __future__ import annotations

import json

import pytest

from gdispy.cli import usage as module
from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE
from gdispy.cli.usage import usage_lines, usage_main
from gdispy.errors import ConnectFailed
from gdispy.protocol.messages import Usage, UsageRequest
from gdispy.protocol.rows import UsageRow

ROWS = [
    UsageRow("2026-01-01", "ann", 10, 1, 0, 3600.0),
    UsageRow("2026-01-01", "bob", 5000, 0, 2, 10800.0),
    UsageRow("2026-01-02", "ann", 1, 0, 0, 3600.0),
]


def cells(by: str) -> list[list[str]]:
    return [line.split() for line in usage_lines(ROWS, by)][1:]


def test_users_are_ordered_by_what_they_used() -> None:
    assert cells("user") == [["bob", "5,000", "0", "2", "3.00", "60%"], ["ann", "11", "1", "0", "2.00", "40%"]]


def test_days_are_in_order() -> None:
    assert cells("day") == [
        ["2026-01-01", "5,010", "1", "2", "4.00", "80%"],
        ["2026-01-02", "1", "0", "0", "1.00", "20%"],
    ]


def test_both_has_each_row() -> None:
    assert [row[:2] for row in cells("both")] == [[row.day, row.user] for row in ROWS]


def test_history_without_rows_is_told() -> None:
    assert usage_lines([], "user") == ["no job has ended on a node in these days"]


def test_use_of_no_time_has_no_share() -> None:
    assert usage_lines([UsageRow("2026-01-01", "ann", 1, 0, 0, 0.0)], "user")[1].split()[-1] == "-"


def test_control_characters_of_names_are_escaped() -> None:
    assert "\x1b" not in usage_lines([UsageRow("2026-01-01", "\x1b[31m", 1, 0, 0, 1.0)], "user")[1]


def test_json_has_all_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[object] = []

    def answer(secret: object, host: str, port: int, request: UsageRequest, kind: object) -> Usage:
        asked.append((host, port, request.days))
        return Usage(1, ROWS)

    monkeypatch.setattr(module, "ask_scheduler", answer)
    assert usage_main(["lab:5", "--days", "7", "--json", "--insecure"]) == 0
    assert json.loads(capsys.readouterr().out) == [row._asdict() for row in ROWS]
    assert asked == [("lab", 5, 7)]


@pytest.mark.parametrize("words", [["lab", "-n", "other"], ["lab", "--days", "0"], ["a b"], ["--by", "x"]])
def test_mistakes_are_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = usage_main([*words, "--insecure"])
    except SystemExit as error:
        code = int(error.code or 0)
    assert code == EXIT_USAGE and "gdispy usage" in capsys.readouterr().err


def test_scheduler_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Usage:
        raise ConnectFailed("lab:51347 cannot be reached")

    monkeypatch.setattr(module, "ask_scheduler", fail)
    assert usage_main(["lab", "--insecure"]) == EXIT_FAILED
