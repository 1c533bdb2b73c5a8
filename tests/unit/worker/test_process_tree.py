"""Processes below a process: which are found and killed. With real ones: `tests/integration/test_left_by_jobs.py`."""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.worker import process_tree as module
from gdispy.worker.process_tree import (
    began,
    descendants,
    is_below,
    keeps_processes,
    kill_descendants,
    processor_seconds,
    resident_bytes,
    signal_name,
)


class Tree:
    """Processes by their parents; a killed one is dead until it is reaped, and its children become those of 1."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **below: list[int]) -> None:
        self.below = {int(pid[1:]): found for pid, found in below.items()}
        self.dead: set[int] = set()
        self.killed: list[int] = []
        self.reaped: list[int] = []
        monkeypatch.setattr(module, "children", lambda pid: list(self.below.get(pid, [])))
        monkeypatch.setattr(module, "_is_zombie", self.dead.__contains__)
        monkeypatch.setattr(module.os, "kill", self._kill)
        monkeypatch.setattr(module.os, "waitpid", lambda pid, options: self.reaped.append(pid))
        monkeypatch.setattr(module, "sleep", lambda seconds: None)

    def _kill(self, pid: int, number: int) -> None:
        assert number == signal.SIGKILL
        self.dead.add(pid)
        self.killed.append(pid)


def test_all_descendants_are_found_parents_first(monkeypatch: pytest.MonkeyPatch) -> None:
    Tree(monkeypatch, p5=[6, 7], p6=[8], p8=[9])
    assert descendants(5) == [6, 7, 8, 9] and descendants(9) == []


def test_all_below_a_process_are_killed_and_not_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(monkeypatch, p5=[6, 7], p6=[8])
    kill_descendants(5)
    assert sorted(tree.killed) == [6, 7, 8] and tree.reaped == []


def test_spared_processes_keep_all_that_is_below_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(monkeypatch, p5=[6, 7], p6=[8], p7=[9])
    kill_descendants(5, frozenset({6}))
    assert sorted(tree.killed) == [7, 9]


def test_process_that_is_forked_meanwhile_is_killed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(monkeypatch, p5=[6])
    kill = tree._kill

    def kill_late(pid: int, number: int) -> None:
        if pid == 6:
            tree.below[5].append(10)
        kill(pid, number)

    monkeypatch.setattr(module.os, "kill", kill_late)
    kill_descendants(5)
    assert tree.killed == [6, 10]


def test_own_children_are_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(monkeypatch, **{f"p{os.getpid()}": [6]})
    kill_descendants(os.getpid())
    assert tree.killed == [6] and set(tree.reaped) == {6}


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_process_that_cannot_be_killed_stops_nothing(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(monkeypatch, p5=[6, 7])
    kill = tree._kill

    def fail(pid: int, number: int) -> Any:
        kill(pid, number)
        if pid == 6:
            raise error

    monkeypatch.setattr(module.os, "kill", fail)
    kill_descendants(5)
    assert tree.killed == [6, 7]


def test_process_that_is_gone_has_nothing() -> None:
    gone = 1 << 22  # Greater than any pid of Linux.
    assert (resident_bytes(gone), processor_seconds(gone), began(gone), descendants(gone)) == (0, 0.0, 0, [])
    assert began(os.getpid()) > 0 and resident_bytes(os.getpid()) > 0


@pytest.mark.parametrize(
    ("number", "name"), [(9, "signal 9 (SIGKILL)"), (15, "signal 15 (SIGTERM)"), (0, "signal 0"), (250, "signal 250")]
)
def test_signal_has_its_number_and_its_name(number: int, name: str) -> None:
    assert signal_name(number) == name


def test_library_that_has_objects_of_processes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "multiprocessing.process", SimpleNamespace(_children=set()))
    assert not keeps_processes()
    monkeypatch.setitem(sys.modules, "multiprocessing.process", SimpleNamespace(_children={1}))
    assert keeps_processes()
    monkeypatch.delitem(sys.modules, "multiprocessing.process")
    assert not keeps_processes()


def test_process_is_below_its_ancestors_only() -> None:
    assert is_below(os.getpid(), os.getppid())
    assert not is_below(os.getpid(), os.getpid()) and not is_below(os.getppid(), os.getpid())
    assert not is_below(0, os.getpid()) and not is_below(1 << 30, os.getpid())


@pytest.mark.parametrize(("ignores", "number"), [(False, signal.SIGINT), (True, signal.SIGTERM)])
def test_interrupt_reaches_the_whole_program(ignores: bool, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    signalled: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "descendants", lambda pid: [8, 9])
    monkeypatch.setattr(module, "_ignores_interrupts", lambda pid: ignores)
    monkeypatch.setattr(module.os, "kill", lambda *given: signalled.append(given))
    module.interrupt(7)
    assert signalled == [(8, signal.SIGINT), (9, signal.SIGINT), (7, number)]


def test_ignored_interrupt_is_seen() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert module._ignores_interrupts(os.getpid())
    finally:
        signal.signal(signal.SIGINT, before)
    assert not module._ignores_interrupts(os.getpid()) and not module._ignores_interrupts(1 << 30)
