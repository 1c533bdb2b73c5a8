"""What `gdispy status` shows of a scheduler."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gdispy.cli import scheduler_request as request_module
from gdispy.cli import status as module
from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE
from gdispy.cli.status import as_object, ask, overview_lines, status_main
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.protocol import roles
from gdispy.protocol.messages import Message, Overview
from gdispy.protocol.rows import ComputationOverviewRow, NodeOverviewRow
from gdispy.transport.credentials import Secret
from tests.unit.builders import hello

SECRET = Secret(bytes(32), "")
OVERVIEW = Overview(
    1,
    [NodeOverviewRow("worker", "10.0.0.9", 51348, 4, 3, True), NodeOverviewRow("w2", "fd00::9", 1, 2, 0, False)],
    [
        ComputationOverviewRow("lab3 (ann: fit.py)", "10.0.0.1", "compute", 7, 3),
        ComputationOverviewRow("another", "", "f" * 30, 0, 0),
    ],
)


def test_tables_have_a_row_for_each_node_and_computation() -> None:
    lines = [[cell.strip() for cell in line.split("|")] for line in overview_lines(OVERVIEW)]
    assert lines == [
        ["Node", "CPUs", "In use", "State"],
        ["10.0.0.9:51348 (worker)", "4", "3", "connected"],
        ["[fd00::9]:1 (w2)", "2", "0", "away"],
        [""],
        ["Client", "Computation", "Waiting", "On nodes"],
        ["ann@lab3: fit.py (10.0.0.1)", "compute", "7", "3"],
        ["another (away)", "f" * 20, "0", "0"],
    ]


def test_scheduler_without_nodes_and_clients_has_empty_tables() -> None:
    assert [line.split("|")[0].strip() for line in overview_lines(Overview(1, [], []))] == ["Node", "", "Client"]


def test_json_has_a_name_for_each_number() -> None:
    found = as_object(OVERVIEW)
    assert found["nodes"][0] == {
        "name": "worker",
        "address": "10.0.0.9",
        "port": 51348,
        "cpus": 4,
        "in_use": 3,
        "connected": True,
    }
    first = found["computations"][0]
    assert isinstance(first, dict)
    assert (first["host"], first["user"], first["program"]) == ("lab3", "ann", "fit.py")
    assert found["computations"][1] == {
        "host": "another",
        "user": "",
        "program": "",
        "address": "",
        "computation": "f" * 30,
        "waiting": 0,
        "on_nodes": 0,
    }


class Link:
    """A connection to a scheduler that answers with these messages, or is closed."""

    def __init__(self, *answers: Message, closed: str = "") -> None:
        self.answers, self.reason = answers, closed
        self.place: tuple[Any, ...] = ()
        self.is_closed = False

    def connect(self, *place: Any, **ways: Any) -> Any:
        *self.place, self.handlers = place
        return self

    def start(self) -> None: ...

    def introduce(self, *_: Any) -> None: ...

    def send(self, message: Message) -> None:
        if self.reason:
            self.handlers.on_closed(self, self.reason)
        self.handlers.on_messages(self, [hello(), *self.answers])

    def close(self, reason: str) -> None:
        self.is_closed = True


def test_answer_of_the_scheduler_is_taken_and_the_connection_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(OVERVIEW)
    monkeypatch.setattr(request_module, "connect", link.connect)
    assert ask(SECRET, "lab", 51347) == OVERVIEW
    assert link.place == ["lab", 51347, SECRET.for_tcp(), roles.CLIENT_TO_SCHEDULER] and link.is_closed


@pytest.mark.parametrize(
    ("closed", "text"), [("busy \x1b", r"lab:51347: busy \\x1b"), ("", "lab:51347 does not answer")]
)
def test_scheduler_without_an_answer_is_named(closed: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(closed=closed)
    monkeypatch.setattr(request_module, "ANSWER_LIMIT", 0.0)
    monkeypatch.setattr(request_module, "connect", link.connect)
    with pytest.raises(ConnectFailed, match=text):
        ask(SECRET, "lab", 51347)
    assert link.is_closed


def command(monkeypatch: pytest.MonkeyPatch, outcome: Any = OVERVIEW) -> list[tuple[str, int]]:
    asked: list[tuple[str, int]] = []

    def answer(secret: Secret, host: str, port: int) -> Overview:
        asked.append((host, port))
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Overview)
        return outcome

    monkeypatch.setattr(module, "ask", answer)
    return asked


@pytest.mark.parametrize(
    "words", [["lab:5"], ["-n", "lab:5"], ["--scheduler_node", "lab:5"], ["--scheduler-host=lab:5"]]
)
def test_scheduler_may_be_a_word_or_an_option(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = command(monkeypatch)
    assert status_main([*words, "--insecure"]) == 0
    assert asked == [("lab", 5)]


def test_default_is_the_scheduler_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDISPY_IP_ADDR", "127.0.0.1")
    asked = command(monkeypatch)
    assert status_main(["--insecure"]) == 0
    assert [host for host, _ in asked] == ["127.0.0.1"]


def test_output_is_a_table_or_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch)
    assert status_main(["lab", "--insecure"]) == 0
    assert capsys.readouterr().out.splitlines() == overview_lines(OVERVIEW)
    assert status_main(["lab", "--insecure", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == as_object(OVERVIEW)


@pytest.mark.parametrize(
    ("words", "error", "code"),
    [
        (["lab"], ConnectFailed("lab:51347 cannot be reached"), EXIT_FAILED),
        (["lab"], PeerRejected("the secret differs"), EXIT_FAILED),
        (["a b"], None, EXIT_USAGE),
        (["lab", "-n", "other"], None, EXIT_USAGE),
    ],
)
def test_failure_is_a_line_and_a_code(
    words: list[str],
    error: Exception | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command(monkeypatch, error)
    assert status_main([*words, "--insecure"]) == code
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("gdispy status: ") and len(told.err.splitlines()) == 1
