"""Pauses between attempts to connect."""

from __future__ import annotations

import pytest

from gdispy.transport import reconnect
from gdispy.transport.reconnect import Backoff


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect.random, "uniform", lambda least, most: most)


@pytest.mark.usefixtures("longest")
def test_pauses_double_up_to_the_limit_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next(True) for _ in range(4)] == [1.0, 2.0, 3.0, 3.0]
    assert backoff.next(False) == 0.5
    assert backoff.next(True) == 1.0


@pytest.mark.usefixtures("longest")
def test_another_first_pause_and_limit_are_for_once() -> None:
    backoff = Backoff(0.5, 30.0)
    backoff.next(True)
    assert backoff.next(True, first=0.1, limit=0.3) == 0.3
    assert backoff.next(True) == 4.0


def test_pauses_have_a_random_part_and_stay_finite() -> None:
    backoff = Backoff(1.0, 1e9)
    pauses = [backoff.next(True) for _ in range(2000)]
    assert 512.0 <= min(pauses[20:]) < max(pauses[20:]) <= 1024.0
    assert len(set(pauses[20:])) > 100
