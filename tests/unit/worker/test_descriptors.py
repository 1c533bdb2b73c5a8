"""Descriptors that jobs cannot close, and those that they leave open."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from gdispy.worker import descriptors as module
from gdispy.worker.descriptors import LeftOpen, protect


class Made:
    """Protected descriptors 5 and 8; nothing is really closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.closed: list[Any] = []
        self.notes = 0
        monkeypatch.setattr(os, "close", self.closed.append)
        monkeypatch.setattr(os, "closerange", lambda low, high: self.closed.append((low, high)))
        protect([8, 5], self._note)

    def _note(self) -> None:
        self.notes += 1


def test_protected_descriptor_seems_not_to_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    for fd in (5, 8):
        with pytest.raises(OSError) as caught:
            os.close(fd)
        assert caught.value.errno == errno.EBADF
    os.close(6)
    assert made.closed == [6] and made.notes == 0


@pytest.mark.parametrize("fd", [0, 1, 2])
def test_closed_standard_stream_is_noticed(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    os.close(fd)
    assert made.closed == [fd] and made.notes == 1


@pytest.mark.parametrize(
    ("low", "high", "ranges"),
    [
        (3, 100, [(3, 5), (6, 8), (9, 100)]),
        (5, 9, [(6, 8)]),
        (0, 5, [(0, 5)]),
        (5, 6, []),
        (6, 6, []),
        (0, 0, []),
        (9, 3, []),
    ],
)
def test_range_is_closed_around_protected_descriptors(
    low: int, high: int, ranges: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(monkeypatch)
    os.closerange(low, high)
    assert made.closed == ranges and made.notes == 1


def test_many_descriptors_left_open_are_noticed_and_a_few_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEFT_OPEN", 4)
    # Whoever runs the tests may have left free numbers below others that are in use: these are filled.
    highest, opened = module._highest(), [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] < highest:
        opened.append(os.open(os.devnull, os.O_RDONLY))
    left = LeftOpen()
    try:
        assert not left.are_many()
        opened += [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
        assert not left.are_many()
        opened += [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
        assert left.are_many()
    finally:
        for fd in opened:
            os.close(fd)
    assert not left.are_many()
