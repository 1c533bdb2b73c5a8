"""Control groups of workers, on directories instead of a kernel. With one: `tests/integration/test_cgroups.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gdispy.worker import cgroups as module
from gdispy.worker.cgroups import Groups
from gdispy.worker.limits import Limits

MEMBERS = frozenset({10, 11})


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The group that the node was started in; the files of groups are plain files."""
    path = tmp_path / "own"
    path.mkdir()
    (path / "cgroup.procs").write_text("10\n11\n")
    (path / "cgroup.controllers").write_text("cpu memory pids\n")
    monkeypatch.setattr(module, "_own_group", lambda: str(path))
    monkeypatch.setattr(module, "_ROUNDS", 2)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    return path


def read(path: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in path.iterdir() if each.is_file()}


def test_processes_of_the_node_move_to_a_group_so_that_workers_can_have_limits(own: Path) -> None:
    groups = Groups.find(MEMBERS)
    assert groups is not None and groups._path == str(own)
    assert (own / "gdispy-node" / "cgroup.procs").read_text() in ("10", "11")
    assert (own / "cgroup.subtree_control").read_text() == "+pids"


def test_group_with_other_processes_is_not_divided(own: Path) -> None:
    assert Groups.find(frozenset({10})) is None
    assert not (own / "gdispy-node").exists()


def test_empty_group_is_not_the_nodes(own: Path) -> None:
    (own / "cgroup.procs").write_text("")
    assert Groups.find(MEMBERS) is None


def test_later_spawner_uses_the_groups_of_the_first(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Groups.find(MEMBERS) is not None
    monkeypatch.setattr(module, "_own_group", lambda: str(own / "gdispy-node"))
    groups = Groups.find(frozenset())
    assert groups is not None and groups._path == str(own)


def test_machine_without_groups_has_none(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_own_group", lambda: None)
    assert Groups.find(MEMBERS) is None


def test_group_that_cannot_be_written_to_is_not_used(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(module, "_write", fail)
    assert Groups.find(MEMBERS) is None


@pytest.mark.parametrize(
    ("limits", "files"),
    [
        (Limits(), {}),
        (Limits(memory=1000), {"memory.max": "1000", "memory.swap.max": "0", "memory.oom.group": "1"}),
        (Limits(processes=5), {"pids.max": "21"}),
    ],
)
def test_worker_enters_a_group_with_its_limits(own: Path, limits: Limits, files: dict[str, str]) -> None:
    Groups(str(own)).enter(limits)
    path = own / f"gdispy-worker-{os.getpid()}"
    assert read(path) == {**files, "cgroup.procs": str(os.getpid())}


def test_limit_that_cannot_be_set_keeps_no_job_from_running(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._write

    def write(path: str, name: str, value: str) -> None:
        if name.startswith("memory"):
            raise OSError
        real(path, name, value)

    monkeypatch.setattr(module, "_write", write)
    Groups(str(own)).enter(Limits(memory=1000, processes=5))
    assert set(read(own / f"gdispy-worker-{os.getpid()}")) == {"pids.max", "cgroup.procs"}


@pytest.mark.parametrize(
    ("memory", "events", "is_named"),
    [
        (1000, "oom 1\noom_kill 1\n", True),
        (1000, "oom 1\noom_kill 0\n", False),
        (0, "oom_kill 1\n", False),
        (1000, "", False),
    ],
)
def test_end_of_a_worker_that_the_kernel_has_killed_names_the_limit(
    own: Path, memory: int, events: str, is_named: bool
) -> None:
    path = own / "gdispy-worker-5"
    path.mkdir()
    (path / "memory.events").write_text(events)
    text = "it used more than 1,000 bytes of memory, the limit of this node" if is_named else ""
    assert Groups(str(own)).end(5, Limits(memory=memory)) == text
    assert (path / "cgroup.kill").read_text() == "1"


def test_groups_of_workers_that_have_ended_are_removed_and_others_stay(own: Path) -> None:
    for name in ("gdispy-worker-1", "gdispy-worker-2", "other"):
        (own / name).mkdir()
    (own / "gdispy-worker-2" / "used").touch()
    Groups(str(own)).sweep()
    assert sorted(each.name for each in own.iterdir() if each.is_dir()) == ["gdispy-worker-2", "other"]


def test_worker_without_a_group_ends_without_one(own: Path) -> None:
    groups = Groups(str(own))
    groups.kill(5)
    assert groups.end(5, Limits(memory=1000)) == ""
