"""A bar while waiting."""

from __future__ import annotations

import importlib
import sys

import pytest

from gdispy import ConfigError
from gdispy.progress import wait_with_bar


def test_bar_shows_how_far_it_is_and_follows_jobs_that_come_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    ended, total = 2, 4
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        nonlocal ended, total
        waited.append(seconds)
        ended, total = ended + 1, 5
        return ended == total

    assert wait_with_bar(wait, lambda: (ended, total), None)
    assert len(waited) == 3 and all(0 < seconds <= 1 for seconds in waited)
    shown = capsys.readouterr().err
    assert "2/4" in shown and "5/5" in shown and "job" in shown


def test_bar_ends_when_time_is_up() -> None:
    pytest.importorskip("tqdm")
    assert not wait_with_bar(lambda seconds: False, lambda: (0, 1), 0.0)
    assert wait_with_bar(lambda seconds: True, lambda: (0, 0), 0.0)


def test_without_tqdm_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError):
        importlib.import_module("tqdm.auto")
    with pytest.raises(ConfigError, match=r"pip install gdispy\[progress\]"):
        wait_with_bar(lambda seconds: True, lambda: (0, 0), None)
