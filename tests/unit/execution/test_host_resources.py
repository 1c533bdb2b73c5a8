"""Free resources that a node reports, and when its disk is full."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.execution import host_resources as module
from gdispy.execution.host_resources import DISK_FLOOR, is_disk_full, load, measure


def psutil(swap_total: int = 100, **overrides: Any) -> Any:
    values: dict[str, Any] = {
        "swap_memory": lambda: SimpleNamespace(total=swap_total, percent=30.0),
        "cpu_percent": lambda: 12.5,
        "virtual_memory": lambda: SimpleNamespace(available=1000),
        "disk_usage": lambda path: SimpleNamespace(free=2000 if path == "/files" else 0),
    }
    return SimpleNamespace(**{**values, **overrides})


def test_what_is_free_is_reported_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_psutil", psutil())
    assert measure("/files") == [87.5, 1000.0, 2000.0, 70.0]


def test_machine_without_swap_has_none_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_psutil", psutil(swap_total=0))
    assert measure("/files")[3] == 0.0


def test_nothing_is_reported_without_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_psutil", None)
    monkeypatch.setitem(sys.modules, "psutil", None)
    load()
    assert measure("/files") == []


def test_psutil_is_loaded_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = psutil()
    monkeypatch.setattr(module, "_psutil", None)
    monkeypatch.setitem(sys.modules, "psutil", found)
    assert measure("/files") == []
    load()
    assert measure("/files")


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("no swap here")])
def test_measurement_that_fails_reports_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise error

    monkeypatch.setattr(module, "_psutil", psutil(swap_memory=fail))
    assert measure("/files") == []


def disk(monkeypatch: pytest.MonkeyPatch, free: float, size: float) -> None:
    """A disk of these sizes in bytes; root may use more of it than the user."""
    about = SimpleNamespace(f_blocks=int(size // 512), f_frsize=512, f_bavail=int(free // 512), f_bfree=1 << 60)
    monkeypatch.setattr(module.os, "statvfs", lambda path: about)


@pytest.mark.parametrize(
    ("free", "size", "floor", "is_full"),
    [
        (DISK_FLOOR, 1 << 40, None, False),
        (DISK_FLOOR - 512, 1 << 40, None, True),
        (5_120_000, 102_400_000, None, False),
        (5_119_488, 102_400_000, None, True),
        (5120, 1 << 40, 5120, False),
        (4608, 1 << 40, 5120, True),
        (0, 1 << 40, 0, False),
    ],
)
def test_disk_is_full_below_a_floor_which_is_less_for_a_small_disk(
    free: float, size: float, floor: int | None, is_full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(monkeypatch, free, size)
    assert is_disk_full("/files", floor) is is_full


def test_disk_that_cannot_be_examined_is_not_called_full() -> None:
    assert not is_disk_full("/no/such/directory", None)
