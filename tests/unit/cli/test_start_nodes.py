"""Nodes that are started over ssh, and stopped. With processes: `tests/acceptance/test_starting.py`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.cli import start_nodes as module
from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE
from gdispy.cli.start_nodes import Fleet, _hosts, _SshNode, start_main, stop_main
from gdispy.errors import ConfigError
from gdispy.protocol.handshake import encode_secret

SECRET_KEY = bytes(32)


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        (["a,b", "c"], ["a", "b", "c"]),
        ([" a , ,b "], ["a", "b"]),
        (["user@host2", "user@[::1]"], ["user@host2", "user@[::1]"]),
    ],
)
def test_hosts_may_be_given_together_or_one_by_one(given: list[str], hosts: list[str]) -> None:
    assert _hosts(given) == hosts


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["-lab"], "--ssh '-lab' is not a valid host: it begins with a dash"),
        (["a b"], "--ssh 'a b' is not a valid host: a host name must not contain ' '"),
        (["a,b,a", "b"], "--ssh names a, b more than once"),
        ([" , "], "--ssh does not name a host"),
    ],
)
def test_words_that_are_no_hosts_are_refused_before_ssh_gets_them(given: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _hosts(given)
    assert str(caught.value).startswith(text)


class Process:
    """An ssh process: `code` is its exit code, None while it runs; it ends with its standard input or is killed."""

    def __init__(self, code: int | None = None) -> None:
        self.returncode = code
        self.is_stubborn = False
        self.written: list[bytes] = []
        self.killed = 0
        self.stdin = SimpleNamespace(fileno=lambda: 60, close=self._end_of_input)
        self.stdout, self.stderr = SimpleNamespace(fileno=lambda: 61), SimpleNamespace(fileno=lambda: 62)

    def _end_of_input(self) -> None:
        if not self.is_stubborn and self.returncode is None:
            self.returncode = 0

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.killed += 1
        self.returncode = -9


class Made:
    """The node of one host, without ssh."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, host: str = "user@lab") -> None:
        self.process = Process()
        self.output: dict[int, list[str]] = {61: [], 62: []}
        self.words: list[str] = []
        self.failure: OSError | None = None
        self.own_session = False
        reader = SimpleNamespace(join=lambda limit: None, kill=lambda: None)
        monkeypatch.setattr(module.subprocess, "Popen", self._start)
        monkeypatch.setattr(module.os, "write", lambda fd, data: self.process.written.append(data))
        monkeypatch.setattr(module, "spawn", lambda *work, what, on_failure=None: reader)
        monkeypatch.setattr(module, "_lines", lambda fd: iter(self.output[fd]))
        monkeypatch.setattr(module.gevent, "joinall", lambda *_, timeout: None)
        self.node: Any = _SshNode(host, ["ssh", "-p", "2222"], "gdispy-node --daemon")

    def _start(self, words: list[str], start_new_session: bool, **_: Any) -> Process:
        if self.failure is not None:
            raise self.failure
        self.words, self.own_session = words, start_new_session
        return self.process

    def run(self, lines: list[str], log: list[str], code: int | None = 1) -> str:
        """The node prints these lines and ends; the state it has then."""
        self.node.start("gdk1_secret")
        self.output = {61: lines, 62: log}
        self.node._read_log(62)
        self.process.returncode = code
        self.node._read(61)
        return str(self.node.state)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


def test_secret_goes_through_standard_input_and_never_on_a_command_line(made: Made) -> None:
    made.node.start("gdk1_secret")
    assert made.process.written == [b"gdk1_secret\n"]
    assert made.words[:3] == ["ssh", "-p", "2222"] and made.words[-2:] == ["user@lab", "gdispy-node --daemon"]
    assert "BatchMode=yes" in made.words and not any("gdk1" in word for word in made.words)
    assert made.own_session


def test_ssh_that_has_ended_already_is_reported_by_its_log(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(fd: int, data: bytes) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(module.os, "write", write)
    assert made.run([], ["Permission denied (publickey)."], 255) == "ended: Permission denied (publickey)."


def test_program_for_ssh_that_cannot_be_started_is_named(made: Made) -> None:
    made.failure = FileNotFoundError(2, "No such file or directory")
    with pytest.raises(ConfigError, match="ssh cannot be started: No such file or directory"):
        made.node.start("")


def test_node_is_ready_at_the_port_that_it_prints(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.node.start("")
    states: list[tuple[str, str]] = []

    def lines(fd: int) -> Any:
        for line in ("motd", "ready to serve", "ready 0.0.0.0:51400"):
            yield line
            states.append((made.node.state, made.node.place))

    monkeypatch.setattr(module, "_lines", lines)
    made.process.returncode = 0
    made.node._read(61)
    assert states == [("starting", ""), ("starting", ""), ("ready", "lab:51400")]


@pytest.mark.parametrize(
    ("log", "code", "state"),
    [
        ([], 127, "ended: gdispy-node was not found: install gdispy, or give its path with --command"),
        (["first", "last", "  "], 1, "ended: last"),
        ([], 1, "ended: ssh ended with exit code 1"),
        (["evil \x1b[2J"], 1, r"ended: evil \x1b[2J"),
    ],
)
def test_end_of_a_node_is_explained(made: Made, log: list[str], code: int, state: str) -> None:
    assert made.run([], log, code) == state


def test_log_of_a_node_is_shown_once_it_is_ready_and_not_before(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.node.start("")
    made.output = {61: [], 62: ["early \x1b"]}
    made.node._read_log(62)
    assert capsys.readouterr().err == ""
    made.node.state = "ready"
    made.node._read_log(62)
    assert capsys.readouterr().err == "user@lab: early \\x1b\n"


def test_log_before_that_is_kept_up_to_a_limit(made: Made) -> None:
    made.node.start("")
    made.output = {61: [], 62: list(map(str, range(1000)))}
    made.node._read_log(62)
    assert made.node._log == list(map(str, range(980, 1000)))


def test_node_that_does_not_end_with_its_input_is_killed(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    made.node.start("")
    made.process.is_stubborn = True
    monkeypatch.setattr(made.node, "_wait", lambda seconds: waits.append(seconds) or made.process.returncode)
    made.node.end()
    assert made.process.killed == 1 and waits[0] == module.STOP_LIMIT
    made.process.killed, made.process.returncode = 0, None
    made.process.is_stubborn = False
    made.node.end()
    assert made.process.killed == 0


# Several nodes


class Node:
    """A node in one of its states, which does what it is told."""

    def __init__(self, host: str, state: str) -> None:
        self.host, self.state = host, state
        self.place = f"{host}:51348" if state == "ready" else ""
        self.steps: list[str] = []

    @property
    def is_up(self) -> bool:
        return self.state == "ready"

    def start(self, secret: str) -> None:
        self.steps.append(f"start {secret}")
        if self.state == "impossible":
            raise ConfigError("ssh cannot be started")

    def let_go(self) -> None:
        self.steps.append("let go")

    def end(self) -> None:
        self.steps.append("end")

    def give_up(self, reason: str) -> None:
        self.state = f"ended: {reason}"


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "started"
    monkeypatch.setattr(module, "_notes", lambda: path)
    monkeypatch.setattr(module.gevent, "signal_handler", lambda *_: None)
    return path


def serve(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, stop: bool) -> int:
    """Serve without waiting: the limit has passed, then this command is stopped, or the nodes have ended."""

    def wait(condition: Any, limit: float | None) -> None:
        if limit is None and stop:
            fleet._stop.set()

    monkeypatch.setattr(fleet, "_await", wait)
    return fleet.serve(60.0)


def test_command_that_is_stopped_has_succeeded_and_ends_all_nodes(
    notes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes: list[Any] = [Node("a", "ready"), Node("b", "starting")]
    assert serve(Fleet(nodes), monkeypatch, stop=True) == 0
    told = capsys.readouterr()
    assert "nodes=['a:51348']; Ctrl-C or `gdispy stop-nodes` stops them" in told.out
    assert [line.split(maxsplit=2) for line in told.out.splitlines()[:3]] == [
        ["HOST", "NODE", "STATE"],
        ["a", "a:51348", "ready"],
        ["b", "-", "ended: not ready within 60 s"],
    ]
    assert told.err == ""
    assert all(node.steps == ["let go", "end"] for node in nodes)
    assert list(notes.iterdir()) == []


def test_nodes_that_have_all_ended_are_a_failure_with_the_reasons(
    notes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes: list[Any] = [Node("a", "ended: Permission denied")]
    assert serve(Fleet(nodes), monkeypatch, stop=False) == EXIT_FAILED
    told = capsys.readouterr()
    assert "nodes=[" not in told.out
    assert told.err == "gdispy start-nodes: a: ended: Permission denied\n"


def test_command_that_is_stopped_before_any_node_is_ready_has_failed(
    notes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes: list[Any] = [Node("a", "starting")]
    fleet = Fleet(nodes)
    fleet._stop.set()
    assert serve(fleet, monkeypatch, stop=True) == EXIT_FAILED
    assert capsys.readouterr().err == "gdispy start-nodes: a: starting\n"


def test_node_that_cannot_be_started_ends_those_before_it(notes: Path) -> None:
    nodes: list[Any] = [Node("a", "starting"), Node("b", "impossible"), Node("c", "starting")]
    with pytest.raises(ConfigError):
        Fleet(nodes).start("gdk1_x")
    assert [node.steps for node in nodes] == [
        ["start gdk1_x", "let go", "end"],
        ["start gdk1_x", "let go", "end"],
        ["let go", "end"],
    ]


def test_waiting_ends_with_the_condition_the_stop_or_the_limit() -> None:
    fleet = Fleet([])
    fleet._await(lambda: True, None)
    fleet._await(lambda: False, 0)
    fleet._stop.set()
    fleet._await(lambda: False, None)


# The commands


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-p", "1", "--dispy_port", "1"], "--dispy_port and --node_port contradict each other"),
        (["--save_config", "x.ini"], "--save_config cannot be given to the nodes"),
        (["--zombie_interval", "0.5"], "--zombie_interval: it must be between 1"),
        (["--job_memory", "much"], "--job_memory: 'much'"),
        (["--service_start", "25:00"], "--service_start: write a time"),
        (["--insecure"], "without a secret, nodes serve only their own machine: omit --insecure"),
        (["--secret", "a", "--secret-file", "b"], "give a secret or a file with the secret, not both"),
    ],
)
def test_options_that_are_invalid_on_the_nodes_are_refused_here(
    words: list[str], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "Fleet", lambda nodes: pytest.fail("it was started"))
    assert start_main(["--ssh", "a", *words]) in (EXIT_USAGE, EXIT_FAILED)
    assert text in capsys.readouterr().err


def test_options_of_nodes_are_passed_to_each_as_one_safe_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[Any] = []
    fleet = SimpleNamespace(start=started.append, serve=lambda limit: started.append(limit) or 7)
    monkeypatch.setattr(module, "Fleet", lambda nodes: started.extend(nodes) or fleet)
    monkeypatch.setenv("GDISPY_SECRET", "another long secret phrase")
    words = ["--ssh", "a,b", "--secret", "a long secret phrase", "--name", "it's $HOME", "--timeout", "5"]
    assert start_main([*words, "--command", "/opt/x/gdispy-node"]) == 7
    first, second, secret, limit = started
    command = "/opt/x/gdispy-node --daemon --exit-with-stdin --secret-file - --name 'it'\"'\"'s $HOME'"
    assert first._words[-2:] == ["a", command] and second._words[-2:] == ["b", command]
    assert limit == 5.0 and secret.startswith(encode_secret(bytes(32))[:5]) and "phrase" not in secret


@pytest.mark.parametrize("words", [["--cpus", "500"], ["--cpus", "-60"], ["--init", "/only/on/the/host"]])
def test_files_and_cpus_are_those_of_the_hosts(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = SimpleNamespace(start=lambda secret: None, serve=lambda limit: 7)
    monkeypatch.setattr(module, "Fleet", lambda nodes: fleet)
    assert start_main(["--ssh", "a", "--secret", "a long secret phrase", *words]) == 7


def note(notes: Path, pid: int, **values: Any) -> Path:
    notes.mkdir(exist_ok=True)
    path = notes / f"{pid}.json"
    path.write_text(json.dumps(values))
    return path


def test_stop_ends_the_processes_that_started_nodes_and_reports_their_hosts(
    notes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note(notes, 11, began=500, hosts=["a", "b"])
    living = {11: 500}
    monkeypatch.setattr(module, "began", lambda pid: living.get(pid, 0))
    monkeypatch.setattr(module.os, "kill", lambda pid, number: living.pop(pid))
    assert stop_main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["a  stopped", "b  stopped"]


def test_process_that_does_not_stop_is_a_failure(
    notes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note(notes, 11, began=500, hosts=["a"])
    monkeypatch.setattr(module, "began", lambda pid: 500)
    monkeypatch.setattr(module.os, "kill", lambda pid, number: None)
    monkeypatch.setattr(module, "STOP_LIMIT", 0.0)
    assert stop_main([]) == EXIT_FAILED
    assert capsys.readouterr().out == "a  does not stop: process 11 on this machine\n"


def test_notes_of_processes_that_have_ended_are_removed_and_no_other_process_is_signalled(
    notes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note(notes, 11, began=500, hosts=["a"])  # Another process has its number now.
    note(notes, 12, began=0)
    (notes / "word.json").write_text("{}")
    (notes / "13.json").write_text("torn")
    monkeypatch.setattr(module, "began", lambda pid: 501)
    monkeypatch.setattr(module.os, "kill", lambda pid, number: pytest.fail("it was signalled"))
    assert stop_main([]) == 0
    assert capsys.readouterr().out == "no nodes started from this machine are running\n"
    assert list(notes.iterdir()) == []


def test_note_of_this_process_is_found_by_stop(notes: Path) -> None:
    nodes: list[Any] = [Node("a", "ready")]
    path = module._note(nodes)
    ((pid, started),) = module._running()
    assert (pid, started["hosts"]) == (os.getpid(), ["a"]) and path.exists()
    assert notes.stat().st_mode & 0o777 == 0o700


def test_lines_of_a_pipe_are_whole_and_the_last_may_lack_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [b"rea", b"dy\nsecond\xff\nla", b"st", b""]
    monkeypatch.setattr(module.socket, "wait_read", lambda fd: None)
    monkeypatch.setattr(module.os, "read", lambda fd, size: parts.pop(0))
    assert list(module._lines(5)) == ["ready", "second\N{REPLACEMENT CHARACTER}", "last"]
