"""What `gdispy logs` asks and prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gdispy.cli import logs as module
from gdispy.cli.logs import LogReader, line, logs_main, merged
from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE
from gdispy.errors import ConnectFailed, GdispyError
from gdispy.protocol.ids import Instance
from gdispy.protocol.messages import LogEvents, LogRequest
from gdispy.protocol.rows import LogPosition, LogRow

A, B = Instance(b"a" * 16), Instance(b"b" * 16)


def row(log: Instance, number: int, time: float, text: str = "text") -> LogRow:
    return LogRow(log, number, time, "INFO", "scheduler" if log == A else "n:1 (b)", text)


def events(*rows: LogRow, left_out: int = 0, problems: tuple[str, ...] = (), error: str = "") -> LogEvents:
    return LogEvents(1, error, list(rows), left_out, list(problems))


class Link:
    """A connection to a scheduler that has these answers; an exception is raised."""

    def __init__(self, *answers: LogEvents | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[LogRequest] = []
        self.closed = 0
        self.opened = 0

    def connect(self, *_: Any) -> Any:
        self.opened += 1
        return self

    def ask(self, request: LogRequest, kind: object) -> LogEvents:
        self.asked.append(request)
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        self.closed += 1


class Stop:
    """Ctrl-C after a number of turns."""

    def __init__(self, turns: int) -> None:
        self.turns = turns

    def wait(self, seconds: float) -> bool:
        self.turns -= 1
        return self.turns < 0


def test_order_is_that_of_times_and_within_a_log_that_of_the_log() -> None:
    rows = [row(A, 1, 5.0), row(A, 2, 3.0), row(A, 3, 9.0), row(B, 1, 4.0), row(B, 2, 6.0)]
    assert [(each.log[:1], each.number) for each in merged(rows)] == [
        (b"b", 1),
        (b"a", 1),
        (b"a", 2),
        (b"b", 2),
        (b"a", 3),
    ]


def test_line_has_time_daemon_level_and_printable_text() -> None:
    found = line(LogRow(A, 1, 86400 * 365.0 + 0.25, "INFO\n", "n\x1b", "one\ntwo\x1b[31m"))
    first, second = found.split("\n")
    assert first.startswith(("1971-01-01", "1970-12-31"))
    assert first.endswith(r".250 n\x1b INFO\n one") and second == r"  two\x1b[31m"
    assert line(row(A, 1, 1e299)).startswith("(no valid time) scheduler INFO")


def test_each_record_is_asked_for_once() -> None:
    link = Link(events(row(A, 4, 1.0), row(A, 5, 1.0), row(B, 0, 1.0)), events(row(A, 3, 1.0)), events())
    reader = LogReader(link.connect, 60.0, "lab")
    for _ in range(3):
        reader.read()
    assert [(each.seconds, each.node, each.question) for each in link.asked] == [(60.0, "lab", n) for n in (1, 2, 3)]
    assert [each.positions for each in link.asked] == [
        [],
        [LogPosition(A, 6), LogPosition(B, 1)],
        [LogPosition(A, 6), LogPosition(B, 1)],
    ]
    assert link.opened == 1


def test_broken_connection_is_made_again_by_the_next_question() -> None:
    link = Link(events(row(A, 4, 1.0)), ConnectFailed("gone"), events())
    reader = LogReader(link.connect, 0.0, "")
    reader.read()
    with pytest.raises(ConnectFailed):
        reader.read()
    reader.read()
    assert (link.opened, link.closed) == (2, 1) and link.asked[2].positions == [LogPosition(A, 5)]


def test_error_of_the_scheduler_is_raised_and_the_connection_stays() -> None:
    link = Link(events(error="no node\x1b"), events())
    reader = LogReader(link.connect, 0.0, "")
    with pytest.raises(GdispyError, match=r"no node\\x1b"):
        reader.read()
    reader.read()
    assert link.opened == 1


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Link]:
    def make(*answers: LogEvents | Exception, turns: int = 0) -> Link:
        link = Link(*answers)
        monkeypatch.setattr(module, "SchedulerLink", link.connect)
        monkeypatch.setattr(module, "interrupted", lambda: Stop(turns))
        return link

    return make


def test_records_are_printed_and_what_is_missing_is_told(
    command: Callable[..., Link], capsys: pytest.CaptureFixture[str]
) -> None:
    link = command(events(row(A, 1, 1.0), left_out=1200, problems=("n\x1b is away",)))
    assert logs_main(["lab", "--insecure", "--since", "10m", "--node", "n"]) == 0
    told = capsys.readouterr()
    assert told.out == line(row(A, 1, 1.0)) + "\n"
    assert told.err.splitlines() == [
        "gdispy logs: 1,200 older records left out: they are not kept, or too many for one answer",
        r"gdispy logs: n\x1b is away",
    ]
    assert (link.asked[0].seconds, link.asked[0].node, link.closed) == (600.0, "n", 1)


def test_output_may_be_data(command: Callable[..., Link], capsys: pytest.CaptureFixture[str]) -> None:
    command(events(row(A, 1, 1.5, "x\x1b")))
    assert logs_main(["lab", "--insecure", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"time": 1.5, "where": "scheduler", "level": "INFO", "text": "x\x1b"}


def test_following_goes_on_while_the_scheduler_is_away_and_repeats_nothing(
    command: Callable[..., Link], capsys: pytest.CaptureFixture[str]
) -> None:
    away = ConnectFailed("lab:51347: gone")
    answers = [events(row(A, 1, 1.0), problems=("n is away",)), away, away]
    link = command(*answers, events(row(B, 0, 2.0), problems=("n is away",)), turns=3)
    assert logs_main(["lab", "--insecure", "-f"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [line(row(A, 1, 1.0)), line(row(B, 0, 2.0))]
    assert told.err.splitlines() == ["gdispy logs: n is away", "gdispy logs: lab:51347: gone"]
    assert link.opened == 3


@pytest.mark.parametrize(
    ("words", "answer", "code", "text"),
    [
        ([], ConnectFailed("lab:51347: gone"), EXIT_FAILED, "lab:51347: gone"),
        (["-f"], events(error="no such node"), EXIT_FAILED, "no such node"),
        (["--since", "soon"], events(), EXIT_USAGE, "--since 'soon' is not a time"),
    ],
)
def test_failure_of_the_first_question_is_a_line_and_a_code(
    words: list[str],
    answer: LogEvents | Exception,
    code: int,
    text: str,
    command: Callable[..., Link],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command(answer, turns=5)
    assert logs_main(["lab", "--insecure", *words]) == code
    assert text in capsys.readouterr().err
