"""The processes that a spawner starts and kills, and what it reports. With real processes: `tests/integration`."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.worker import spawner as module
from gdispy.worker.limits import Limits
from gdispy.worker.spawner import Spawner
from gdispy.worker.template import JobSettings, TemplateSettings

OWN, NODE = 100, 99
SETTING = ["/files", "worker", "10.0.0.9", True, "/jobs", False, True, 4096, 20, "plain", (0, 5, 0.0, 0, 0, 0)]


class Exited(BaseException):
    """A child process has ended itself."""


class Made:
    """A spawner without processes: forks give the next pids, and `dead` are those to be reaped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failure: str = "", has_groups: bool = True) -> None:
        self.sent: list[Any] = []
        self.events: list[Any] = []
        self.dead: list[tuple[int, int]] = []
        self.next_pid = 201
        self.is_child = False
        self.killed: list[tuple[int, int]] = []
        self.trees: list[tuple[int, frozenset[int]]] = []
        self.removed: list[str] = []
        self.closed: list[int] = []
        self.steps: list[str] = []
        self.templates: list[tuple[Any, ...]] = []
        self.started_by_init: list[int] = []
        self.gone: set[int] = set()
        waiter = SimpleNamespace(wait=self._wait, leave_in_child=lambda: self.steps.append("leave in child"))
        control = SimpleNamespace(
            EventWaiter=lambda end: waiter,
            send=lambda end, message: self.sent.append(message),
            receive=lambda end: self.events.pop(0) if self.events else None,
            close_all=self.closed.extend,
            TEXT_LIMIT=100,
        )
        system = SimpleNamespace(
            getpid=lambda: OWN,
            getppid=lambda: NODE,
            fork=self._fork,
            waitpid=self._waitpid,
            kill=self._kill,
            _exit=self._exit,
            WNOHANG=1,
        )
        groups = SimpleNamespace(sweep=lambda: self.steps.append("sweep")) if has_groups else None
        monkeypatch.setattr(module, "control", control)
        monkeypatch.setattr(module, "os", system)
        monkeypatch.setattr(module.Groups, "find", lambda members: groups if members == {OWN, NODE} else "wrong")
        monkeypatch.setattr(module, "children", lambda pid: self.started_by_init)
        monkeypatch.setattr(module, "kill_descendants", self._kill_descendants)
        monkeypatch.setattr(module, "remove_tree", self._remove_tree)
        monkeypatch.setattr(module, "template_main", self._template_main)
        monkeypatch.setattr(module, "socket", SimpleNamespace(socket=lambda fileno: f"socket {fileno}"))
        monkeypatch.setattr(module, "_outlive_signals", lambda: self.steps.append("outlive signals"))
        startup: Any = SimpleNamespace(
            run=lambda: failure, exported={"a": 1}, close=lambda: self.steps.append("close of init")
        )
        self.spawner = Spawner("end", "/node", startup)  # type: ignore[arg-type]

    def _wait(self) -> bool:
        """A child that has ended wakes the spawner up without a message."""
        if self.events and isinstance(self.events[0], tuple) and isinstance(self.events[0][0], int):
            self.dead.append(self.events.pop(0))
            return False
        return True

    def _fork(self) -> int:
        if self.is_child:
            return 0
        self.next_pid += 1
        return self.next_pid - 1

    def _waitpid(self, pid: int, options: int) -> tuple[int, int]:
        assert (pid, options) == (-1, 1)
        return self.dead.pop(0) if self.dead else (0, 0)

    def _kill(self, pid: int, number: int) -> None:
        if pid in self.gone:
            raise ProcessLookupError
        self.killed.append((pid, number))

    def _exit(self, code: int) -> None:
        raise Exited(code)

    def _kill_descendants(self, pid: int, spare: frozenset[int] = frozenset()) -> None:
        self.steps.append("kill")
        self.trees.append((pid, spare))

    def _remove_tree(self, path: str) -> None:
        self.steps.append("remove")
        self.removed.append(path)

    def _template_main(self, *args: Any) -> None:
        self.templates.append(args)
        raise Exited

    def serve(self, *events: Any) -> list[Any]:
        """Messages of the node, with their descriptors, and (pid, status) of children that end; then the node's end."""
        self.events = [(each, [7, 8]) if isinstance(each, list) else each for each in events]
        self.spawner.serve()
        return self.sent


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


def test_spawner_reports_that_it_is_up_when_it_survives_signals(made: Made) -> None:
    assert made.serve() == [["up"]]
    assert made.steps == ["outlive signals"]


def test_failed_init_is_reported_within_the_limit_of_a_message_and_no_command_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Made(monkeypatch, failure="x" * 1000)
    ((kind, reason),) = made.serve(["template", "key", *SETTING])
    assert kind == "failed" and len(reason) <= 100
    assert made.next_pid == 201 and made.steps == []


def test_template_is_forked_its_descriptors_closed_and_its_end_reported(made: Made) -> None:
    assert made.serve(["template", "first", *SETTING], ["template", "second", *SETTING], (202, 9), (201, 0)) == [
        ["up"],
        ["exited", "second", 9],
        ["exited", "first", 0],
    ]
    assert made.closed == [7, 8, 7, 8]


def test_child_becomes_the_template_with_the_setting_of_the_message(made: Made) -> None:
    made.is_child = True
    with pytest.raises(Exited):
        made.serve(["template", "key", *SETTING])
    ((end, about, parent),) = made.templates
    assert made.steps[-1] == "leave in child" and (end, parent) == ("socket 7", OWN)
    jobs, limits = JobSettings("/jobs", False, True, 4096, 20, "plain"), Limits(processes=5)
    where = ("/files", "worker", "10.0.0.9", True)
    assert about == TemplateSettings(*where, jobs, limits, made.spawner._groups, {"a": 1})


def test_end_of_a_template_kills_what_it_left_but_no_other_template_and_nothing_of_init(made: Made) -> None:
    made.started_by_init = [150]
    made.serve(["template", "first", *SETTING], ["template", "second", *SETTING], ["remove", "/old"], (201, 0))
    assert made.trees == [(OWN, frozenset({202, 203, 150}))]
    assert "sweep" in made.steps


def test_end_of_another_process_is_not_reported(made: Made) -> None:
    assert made.serve(["template", "key", *SETTING], (150, 0)) == [["up"]]
    assert made.trees == []


def test_all_children_that_have_ended_are_reaped_at_one_wake_up(made: Made) -> None:
    made.serve(["template", "first", *SETTING], ["template", "second", *SETTING])
    made.dead = [(201, 1), (202, 2)]
    made.spawner._reap()
    assert made.sent[1:] == [["exited", "first", 1], ["exited", "second", 2]]


def test_spawner_without_children_has_nothing_to_reap(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def waitpid(pid: int, options: int) -> Any:
        raise ChildProcessError

    monkeypatch.setattr(module.os, "waitpid", waitpid)
    assert made.serve((201, 0)) == [["up"]]


def test_unresponsive_template_is_killed_with_all_below_it_and_no_other(made: Made) -> None:
    made.serve(["template", "first", *SETTING], ["template", "second", *SETTING], ["end", "second"])
    assert made.trees == [(202, frozenset())] and made.killed == [(202, signal.SIGKILL)]


def test_template_that_ends_meanwhile_need_not_be_killed(made: Made) -> None:
    made.gone = {201}
    made.serve(["template", "first", *SETTING], ["end", "first"], ["end", "unknown"])
    assert made.killed == []


def test_tree_is_removed_in_a_child_process(made: Made) -> None:
    made.serve(["remove", "/old"], (201, 0))
    assert made.removed == [] and made.sent == [["up"]]
    assert made.spawner._removing == set()
    made.is_child = True
    with pytest.raises(Exited):
        made.serve(["remove", "/old"])
    assert made.removed == ["/old"] and made.steps[-2:] == ["leave in child", "remove"]


def test_at_the_end_processes_of_init_live_until_its_close_has_returned(made: Made) -> None:
    made.started_by_init = [150]
    made.serve()
    made.steps.clear()
    made.spawner.finish()
    assert made.steps == ["kill", "close of init", "kill", "sweep", "remove"]
    assert made.trees == [(OWN, frozenset({150})), (OWN, frozenset())]
    assert made.removed == ["/node"]


def test_machine_without_control_groups_has_nothing_to_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch, has_groups=False)
    made.serve(["template", "key", *SETTING], (201, 0))
    made.spawner.finish()
    assert made.sent[-1] == ["exited", "key", 0] and "sweep" not in made.steps


@pytest.mark.parametrize("error", [None, ConnectionResetError("the node was killed"), BrokenPipeError("likewise")])
def test_killed_node_leaves_nothing_behind(
    error: Exception | None, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def serve() -> None:
        if error is not None:
            raise error

    end = SimpleNamespace(fileno=lambda: 5)
    monkeypatch.setattr(module, "socket", SimpleNamespace(socket=lambda fileno: end))
    monkeypatch.setattr(module.sys, "argv", ["spawner", "5", "/node", "", "1024"])
    monkeypatch.setattr(
        module, "Spawner", lambda *_: SimpleNamespace(serve=serve, finish=lambda: steps.append("finish"))
    )
    for name in ("adopt_orphans", "no_core_dumps"):
        monkeypatch.setattr(module, name, lambda name=name: steps.append(name))
    monkeypatch.setattr(module, "limit_open_files", lambda number: steps.append(str(number)))
    monkeypatch.setattr(module, "signal", SimpleNamespace(signal=lambda *_: None, SIGINT=2, SIG_IGN=1))
    monkeypatch.setattr(module.warnings, "filterwarnings", lambda *_: None)
    monkeypatch.setattr(module.os, "umask", lambda mask: steps.append(oct(mask)), raising=False)
    monkeypatch.setattr(module.os, "set_inheritable", lambda fd, value: steps.append(f"{fd} {value}"), raising=False)
    with pytest.raises(Exited) as ended:
        module.main()
    assert ended.value.args == (0,)
    assert steps == ["5 False", "adopt_orphans", "0o77", "no_core_dumps", "1024", "finish"]


def test_signals_of_a_batch_system_are_handled_so_that_programs_get_the_defaults_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handlers: dict[int, Any] = {}
    monkeypatch.setattr(module.signal, "signal", handlers.__setitem__)
    module._outlive_signals()
    assert set(handlers) == {signal.SIGTERM, signal.SIGHUP}
    assert all(callable(each) and each(15, None) is None for each in handlers.values())
