"""Commands on the console of a node, and when it is read."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.cli import console as module
from gdispy.cli.console import is_wanted, obey, run
from gdispy.errors import ConfigError, GdispyError


class Node:
    """Records what the console requests."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.control = self

    def stop(self) -> None:
        self.calls.append("stop")

    def stop_jobs(self) -> None:
        self.calls.append("stop jobs")

    def start_jobs(self) -> None:
        self.calls.append("start jobs")

    def set_cpus(self, cpus: int) -> None:
        self.calls.append(cpus)

    def release(self) -> str:
        self.calls.append("release")
        return "released"

    def status(self) -> list[str]:
        return ["2 jobs", "1 client"]


def count(wanted: int) -> int:
    if wanted > 8:
        raise ConfigError(f"this machine has 8 CPUs, not {wanted}")
    return wanted if wanted > 0 else 8 + wanted


def said(line: str) -> tuple[str, list[Any]]:
    node: Any = Node()
    return obey(node, line, count), node.calls


@pytest.mark.parametrize(
    ("line", "call", "text"),
    [
        ("quit", "stop", "ending"),
        (" exit \r", "stop", "ending"),
        ("stop", "stop jobs", "no new jobs are accepted; 'start' accepts them again"),
        ("start", "start jobs", "jobs are accepted"),
        ("release", "release", "released"),
        ("cpus 3", 3, "CPUs: 3"),
        ("cpus -2", 6, "CPUs: 6"),
    ],
)
def test_command_is_obeyed_and_confirmed(line: str, call: Any, text: str) -> None:
    assert said(line) == (text, [call])


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("cpus", "write a number after 'cpus', not ''"),
        ("cpus many", "write a number after 'cpus', not 'many'"),
        ("cpus 0", "write 'stop' to accept no new jobs, or 'cpus' with a number other than 0"),
        ("cpus 9", "this machine has 8 CPUs, not 9"),
    ],
)
def test_number_of_cpus_that_is_invalid_changes_nothing(line: str, text: str) -> None:
    assert said(line) == (text, [])


@pytest.mark.parametrize("line", ["", "help", "quite", "STOP"])
def test_any_other_line_shows_the_status_and_the_commands(line: str) -> None:
    text, calls = said(line)
    assert text.splitlines()[:2] == ["2 jobs", "1 client"] and "cpus N" in text and calls == []


class Terminal:
    """Standard input: gives these parts, None where there is nothing yet; then its end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *parts: Any) -> None:
        self.parts = [*parts]
        self.foreground: list[bool] = []
        self.slept = 0
        monkeypatch.setattr(module, "is_wanted", self._is_wanted)
        monkeypatch.setattr(module.gevent, "sleep", self._sleep)
        monkeypatch.setattr(module.socket, "wait_read", self._wait)
        monkeypatch.setattr(module.os, "read", self._read)

    def _is_wanted(self) -> bool:
        return self.foreground.pop(0) if self.foreground else True

    def _sleep(self, seconds: float) -> None:
        self.slept += 1

    def _wait(self, fd: int, timeout: float, timeout_exc: Exception) -> None:
        assert fd == 0
        if self.parts and self.parts[0] is None:
            self.parts.pop(0)
            raise timeout_exc

    def _read(self, fd: int, size: int) -> bytes:
        assert fd == 0
        part = self.parts.pop(0) if self.parts else b""
        if isinstance(part, Exception):
            raise part
        return bytes(part)


def lines_of(terminal: Terminal) -> list[str]:
    lines: list[str] = []
    run(lambda line: lines.append(line) or "")  # type: ignore[func-returns-value]
    return lines


def test_lines_are_commands_however_they_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, b"sto", None, b"p\nstart\nca", b"f\xff\n", b"unfinished")
    assert lines_of(terminal) == ["stop", "start", "caf\N{REPLACEMENT CHARACTER}"]


def test_node_in_the_background_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, b"stop\n")
    # It leaves the foreground between the two checks, while it waits for input.
    terminal.foreground = [False, True, False, False]
    assert lines_of(terminal) == ["stop"] and terminal.slept == 2


def test_console_ends_with_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(Terminal(monkeypatch, b"stop\n", OSError("gone"))) == ["stop"]


@pytest.mark.parametrize("error", [OSError("gone"), GdispyError("standard output was closed")])
def test_console_ends_when_a_reply_cannot_be_printed(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    Terminal(monkeypatch, b"stop\nstart\n")
    seen: list[str] = []

    def fail(line: str) -> str:
        seen.append(line)
        raise error

    run(fail)
    assert seen == ["stop"]


@pytest.mark.parametrize(("is_terminal", "group", "wanted"), [(True, 7, True), (True, 8, False), (False, 7, False)])
def test_console_is_for_a_terminal_in_whose_foreground_the_node_is(
    is_terminal: bool, group: int, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.os, "isatty", lambda fd: is_terminal)
    monkeypatch.setattr(module.os, "tcgetpgrp", lambda fd: group)
    monkeypatch.setattr(module.os, "getpgrp", lambda: 7)
    assert is_wanted() is wanted


def test_terminal_that_is_gone_is_no_console(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(fd: int) -> int:
        raise OSError("gone")

    monkeypatch.setattr(module.os, "isatty", lambda fd: True)
    monkeypatch.setattr(module.os, "tcgetpgrp", gone)
    assert not is_wanted()
