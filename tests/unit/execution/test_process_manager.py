"""The start of a node's spawner, and what follows its death. With processes: `tests/integration/test_faults.py`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.execution import process_manager as module
from gdispy.execution.process_manager import ProcessManager
from gdispy.execution.spawner_process import DEFECT, KILLED, cause_of
from tests.unit.builders import C, D, prepare


class End:
    """The node's end of a control socket."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True

    def setblocking(self, on: bool) -> None: ...


class Made:
    """Processes of a node, none of which is started; `received` is what the spawner sends before its end."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turns: list[tuple[Any, ...]] = []
        self.started: list[tuple[Any, ...]] = []
        self.readers: list[tuple[Any, ...]] = []
        self.received: list[Any] = []
        self.sent: list[tuple[Any, Any]] = []
        self.steps: list[str] = []
        self.failures: list[str] = []
        self.ended: list[Any] = []
        self.unavailable: OSError | None = None
        rules: Any = SimpleNamespace(
            template_lost="template lost",
            unloaded="unloaded",
            template_ended=lambda computation, now: self.ended.append(computation),
        )
        pump: Any = SimpleNamespace(put=lambda *turn: self.turns.append(turn))
        monkeypatch.setattr(module, "start_spawner", self._start)
        monkeypatch.setattr(module, "messages", lambda end: self.received)
        monkeypatch.setattr(module, "spawn", self._spawn)
        monkeypatch.setattr(module, "keep_running", lambda *_, what: None)
        monkeypatch.setattr(module, "kill_descendants", lambda pid: self.steps.append("kill"))
        monkeypatch.setattr(module.control, "send", lambda end, message: self.sent.append((end, message)))
        monkeypatch.setattr(module.control, "receive", lambda end: None)
        self.manager: Any = ProcessManager(
            rules, pump, {"dest_path_prefix": str(tmp_path), "init": "/init.py"}, b"n" * 16
        )
        self.manager._await_spawner = lambda: self.steps.append("await")
        self.manager.on_failure = self.failures.append

    def _start(self, *args: Any) -> tuple[Any, int]:
        if self.unavailable is not None:
            raise self.unavailable
        self.started.append(args)
        return End(), 1000 + len(self.started)

    def _spawn(self, work: Any, *args: Any, what: str, on_failure: Any) -> None:
        self.readers.append((work, *args, on_failure))

    def run_reader(self) -> None:
        """The last reader of a spawner reads until the spawner's end."""
        work, end, _ = self.readers[-1]
        work(end)

    def add_template(self, prepare: Any) -> Any:
        template = module.TemplateProcess(prepare, "/files", "/jobs")
        template.end = End()
        self.manager._templates[template.id.hex()] = template
        return template


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(tmp_path, monkeypatch)


def test_spawner_is_started_with_the_nodes_private_directory_and_its_init(made: Made, tmp_path: Path) -> None:
    made.manager.start()
    directory = tmp_path / (b"n" * 16).hex()
    assert made.started == [(str(directory), "/init.py", b"n" * 16)]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert not made.manager.is_up.is_set()


def test_node_is_up_when_its_spawner_says_so(made: Made) -> None:
    made.manager.start()
    made.manager._closing = True
    made.received = [["up"]]
    made.run_reader()
    assert made.manager.is_up.is_set() and len(made.started) == 1


def test_spawner_that_was_killed_is_replaced_when_its_processes_are_dead(made: Made) -> None:
    made.manager.start()
    first = made.manager._spawner
    made.received = [["up"]]
    made.run_reader()
    assert first.is_closed and made.steps == ["await", "kill"]
    assert len(made.started) == 2 and made.started[0] == made.started[1]
    assert made.manager._spawner is not first and made.manager._spawner_pid == 1002
    assert not made.manager.is_up.is_set()


def test_computations_of_a_killed_spawner_are_reported_as_lost(made: Made) -> None:
    made.manager.start()
    templates = [made.add_template(prepare(each)) for each in (C, D)]
    made.run_reader()
    reason = "the node's spawner process was killed"
    assert made.turns == [(made.manager._template_ended, each.hex(), reason) for each in (C, D)]
    for _, key, cause in made.turns[:]:
        made.manager._template_ended(key, cause, 0.0)
    assert made.ended == [C, D] and all(each.end.is_closed for each in templates)
    assert made.turns[2:] == [("template lost", C, reason), ("template lost", D, reason)]


def test_end_of_a_template_is_reported_once_with_its_cause(made: Made) -> None:
    made.manager.start()
    made.manager._closing = True
    made.add_template(prepare(C))
    made.received = [["exited", C.hex(), 3 << 8]]
    made.run_reader()
    ((work, key, cause),) = made.turns
    assert cause == "the computation's process ended with exit code 3 before the job was done"
    work(key, cause, 0.0)
    work(key, cause, 0.0)
    assert made.turns[1:] == [("template lost", C, cause)]


def test_template_that_is_killed_for_a_defect_is_not_said_to_be_killed_by_another_process(made: Made) -> None:
    template = made.add_template(prepare())
    made.manager._end_template(template)
    made.manager._template_ended(C.hex(), cause_of(signal.SIGKILL, "the computation's process"), 0.0)
    assert made.turns == [("template lost", C, DEFECT)]


def test_worker_that_is_killed_has_the_cause_that_its_node_gives(made: Made) -> None:
    template = made.add_template(prepare())
    worker: Any = SimpleNamespace(number=1, template=template, fds=[], buffer=b"", parse=lambda data: 1 // 0)
    made.manager._workers[1] = worker
    made.manager.end(1)
    made.manager._take_results(worker, b"anything", [])
    causes = [message[2] for end, message in made.sent if message[:2] == ["end", 1]]
    assert causes == [KILLED, "its process sent invalid results, so its node has killed it"]


def test_template_that_was_told_to_end_is_not_lost_and_its_files_are_removed(made: Made, tmp_path: Path) -> None:
    made.manager.start()
    files = tmp_path / (b"n" * 16).hex() / C.hex()
    files.mkdir()
    made.add_template(prepare(C)).ending = True
    made.manager._template_ended(C.hex(), "", 0.0)
    assert made.turns == [("unloaded", C)]
    ((end, (command, path)),) = made.sent
    assert (end, command) == (made.manager._spawner, "remove") and os.path.lexists(path) and not files.exists()


def test_failed_init_stops_the_node_with_its_reason_and_no_spawner_is_started_again(made: Made) -> None:
    made.manager.start()
    made.received = [["failed", "init() returned 1"]]
    made.run_reader()
    assert made.failures == ["init() returned 1"] and len(made.started) == 1 and made.steps == []


def test_node_that_is_told_to_stop_with_its_spawner_starts_no_other(made: Made) -> None:
    made.manager.start()
    made.manager._await_spawner = lambda: setattr(made.manager, "_closing", True)
    made.run_reader()
    assert made.steps == ["kill"] and len(made.started) == 1 and made.turns == []


def test_spawner_that_cannot_be_started_is_an_error_of_the_start(made: Made) -> None:
    made.unavailable = OSError("no more processes")
    with pytest.raises(OSError, match="no more processes"):
        made.manager.start()


def test_spawner_that_cannot_be_started_again_is_a_defect_that_the_node_reports(made: Made) -> None:
    defects: list[BaseException] = []
    made.manager.on_defect = defects.append
    made.manager.start()
    made.unavailable = OSError("no more processes")
    with pytest.raises(OSError) as caught:
        made.run_reader()
    made.readers[0][2](caught.value)
    assert defects == [caught.value]


@pytest.mark.parametrize(("is_up", "steps"), [(True, ["await"]), (False, ["kill", "await"])])
def test_closing_kills_only_a_spawner_that_does_not_read_its_socket_yet(
    made: Made, is_up: bool, steps: list[str]
) -> None:
    made.manager.start()
    if is_up:
        made.manager.is_up.set()
    made.manager.close()
    assert made.manager._spawner.is_closed and made.steps == steps
    assert os.path.isdir(made.manager.directory) is is_up


def test_node_that_has_not_started_anything_closes_at_once(made: Made) -> None:
    made.manager.close()
    assert made.steps == []
