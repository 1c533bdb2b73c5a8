"""What `gdispy status` shows of a scheduler."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gdispy.cli import scheduler_request as request_module
from gdispy.cli import status as module
from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE
from gdispy.cli.status import as_object, ask, job_lines, jobs_as_object, overview_lines, status_main
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.protocol import roles
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Message, Overview, RunningJobs
from gdispy.protocol.rows import ComputationOverviewRow, NodeOverviewRow, RunningJobRow
from gdispy.transport.credentials import Secret
from tests.unit.builders import C, hello

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
        "state": "connected",
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


JOBS = RunningJobs(
    1,
    [
        RunningJobRow(C, JobId(17), 7, 125.0, 90.5, 3 << 20, "c41f", "fit\x1b", "lab3 (ann: fit.py)", "n:1 (w)"),
        RunningJobRow(C, JobId(18), 0, 1.0, -1.0, 0, "c41f", "fit", "lab4", "n:1 (w)"),
    ],
    1200,
    ["n:2 (x\x1b) has not answered"],
)


def test_states_of_nodes_are_shown_in_full() -> None:
    lines = overview_lines(replace(OVERVIEW, states=["ready", "away for 3 s\x1b; and so on"]))
    assert [line.split("|")[-1].strip() for line in lines[1:3]] == ["ready", r"away for 3 s\x1b; and so on"]
    assert as_object(replace(OVERVIEW, states=["ready", "x"]))["nodes"][1]["state"] == "x"  # type: ignore[index]


def test_running_jobs_have_a_row_each_and_the_others_are_counted() -> None:
    head, *rows, more, problem = job_lines(JOBS)
    assert [cell.strip() for cell in head.split("|")][:4] == ["Job", "User", "Program", "Computation"]
    first, second = ([cell.strip() for cell in row.split("|")] for row in rows)
    assert first == ["c41f:17", "ann", "fit.py", r"fit\x1b", "n:1 (w)", "7", "2:05", "1:30", "3.0 MiB"]
    assert second == ["c41f:18", "lab4", "", "fit", "n:1 (w)", "-", "1.0 s", "-", "-"]
    assert more == "and 1,200 other running jobs" and problem == r"n:2 (x\x1b) has not answered"


def test_running_jobs_are_data_too() -> None:
    found = jobs_as_object(JOBS)
    first, second = found["jobs"]  # type: ignore[misc]
    assert first == {
        "job": "c41f:17",
        "host": "lab3",
        "user": "ann",
        "program": "fit.py",
        "computation": "fit\x1b",
        "node": "n:1 (w)",
        "pid": 7,
        "seconds": 125.0,
        "cpu_seconds": 90.5,
        "memory": 3 << 20,
    }
    assert (second["pid"], second["cpu_seconds"], second["memory"]) == (None, None, None)
    assert found["jobs_left_out"] == 1200 and found["jobs_problems"] == JOBS.problems


def test_jobs_are_asked_for_with_an_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch)
    monkeypatch.setattr(module, "ask_jobs", lambda *_: JOBS)
    assert status_main(["lab", "--insecure", "--jobs"]) == 0
    assert capsys.readouterr().out.splitlines() == [*overview_lines(OVERVIEW), "", *job_lines(JOBS)]
    assert status_main(["lab", "--insecure", "--jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {**as_object(OVERVIEW), **jobs_as_object(JOBS)}
