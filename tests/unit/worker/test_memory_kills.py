"""Kills for lack of memory, and others."""

from __future__ import annotations

import signal

import pytest

from gdispy.worker import memory_kills
from gdispy.worker.memory_kills import MemoryKills, kills, machine_bytes

KILLED = int(signal.SIGKILL)


def counted(monkeypatch: pytest.MonkeyPatch, *counts: int | None) -> MemoryKills:
    values = iter(counts)
    monkeypatch.setattr(memory_kills, "kills", lambda: next(values))
    monkeypatch.setattr(memory_kills, "machine_bytes", lambda: 2048 << 20)
    return MemoryKills()


@pytest.mark.parametrize("status", [0, 1 << 8, int(signal.SIGTERM), int(signal.SIGSEGV)])
def test_other_ends_are_not_explained(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    assert counted(monkeypatch, 5).explain(status, 1024) == ""


def test_kill_is_for_lack_of_memory_if_the_kernel_has_counted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch, 5, 5, 6, 6)
    used = "(it had used up to 3,000 MiB; the machine has 2,048 MiB)"
    assert made.explain(KILLED, 3_000 * 1024) == f"by another process {used}"
    assert made.explain(KILLED, 3_000 * 1024) == f"by the kernel for lack of memory {used}"
    assert made.explain(KILLED, 3_000 * 1024) == f"by another process {used}"


def test_kill_may_be_either_where_the_kernel_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch, None, None)
    assert made.explain(KILLED, 0).startswith("by another process, or by the kernel for lack of memory (")


def test_this_machine_counts_and_has_memory() -> None:
    assert (kills() or 0) >= 0 and machine_bytes() > 1 << 20


def test_kernel_without_the_count_or_proc_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(memory_kills.builtins, "open", fail)
    assert kills() is None
