"""Signs of life of one connection, without a socket."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from gdispy.protocol.heartbeat import Heartbeat
from gdispy.transport import liveness as module
from gdispy.transport.liveness import Liveness


class Made:
    """A timer, and what it has asked for."""

    def __init__(self, pulse: float = 5.0) -> None:
        self.signs = 0
        self.silences: list[bool] = []
        self.ends: list[str] = []
        self.failures: list[BaseException] = []
        self.made = Liveness(pulse, self._sign, self.silences.append, self.ends.append, self.failures.append)

    def _sign(self) -> None:
        self.signs += 1


@pytest.fixture
def made() -> Any:
    made = Made()
    made.made.start()
    yield made
    made.made.stop()


def run_spawned() -> None:
    gevent.spawn(lambda: None).join()


def test_silence_is_reported_once_and_its_end_once(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Heartbeat, "is_silent", lambda heartbeat, now: True)
    made.made.check()
    made.made.check()
    run_spawned()
    assert made.silences == [True]
    made.made.heard(1, True)
    made.made.heard(1, True)
    assert made.silences == [True, False]


def test_silence_that_is_over_before_it_could_be_reported_is_not(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Heartbeat, "is_silent", lambda heartbeat, now: True)
    made.made.check()
    made.made.heard(1, True)
    run_spawned()
    assert True not in made.silences


def test_lost_connection_ends_with_how_long_nothing_was_heard(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Heartbeat, "is_lost", lambda heartbeat, now: True)
    monkeypatch.setattr(Heartbeat, "quiet", lambda heartbeat, now: 31.0)
    made.made.check()
    run_spawned()
    assert made.ends == ["no data from the other side for 31 s"]


def test_sign_that_is_due_is_given(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.made.check()
    assert made.signs == 0
    monkeypatch.setattr(Heartbeat, "is_due", lambda heartbeat, now: True)
    made.made.check()
    assert made.signs == 1


def test_key_is_old_after_its_time_and_then_new_again(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not made.made.is_key_old
    monkeypatch.setattr(module, "REKEY_INTERVAL", -1.0)
    made.made.check()
    assert made.signs >= 1 and made.made.is_key_old
    made.made.renew_key()
    assert not made.made.is_key_old


def test_nothing_is_looked_at_after_the_end(made: Made) -> None:
    made.made.stop()
    timer = made.made._timer
    made.made.set_interval(0.5)
    assert made.made._timer is timer and not timer.active
