"""The pump's turns, and the one timer that it has: set to what the rules want, and to nothing else."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.rules.effects import Effects
from gdispy.runtime import pump as module
from gdispy.runtime.pump import Pump


class Timer:
    def __init__(self, after: float) -> None:
        self.after = after
        self.callback: Callable[[], None] | None = None

    def start(self, callback: Callable[[], None]) -> None:
        self.callback = callback

    def stop(self) -> None:
        self.callback = None


class Loop:
    """A loop that does what it was asked for when the test says so, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.callbacks: list[Callable[[], None]] = []
        self.timers: list[Timer] = []

    def timer(self, after: float, ref: bool) -> Timer:
        assert not ref
        self.timers.append(Timer(after))
        return self.timers[-1]

    def run_callback(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def run(self) -> None:
        while self.callbacks:
            self.callbacks.pop(0)()

    def set(self) -> list[float]:
        """In how many seconds timers will ring."""
        return [timer.after for timer in self.timers if timer.callback is not None]

    def ring(self) -> None:
        [timer] = [timer for timer in self.timers if timer.callback is not None]
        self.now += timer.after
        assert timer.callback is not None
        timer.callback()
        timer.callback = None
        self.run()


class Rules:
    def __init__(self) -> None:
        self.wanted: float | None = None
        self.ticks: list[float] = []

    def due(self) -> float | None:
        return self.wanted

    def tick(self, now: float) -> Effects:
        self.ticks.append(now)
        self.wanted = None
        return []

    def want(self, moment: float | None, now: float) -> Effects:
        self.wanted = moment
        return []


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(module, "gevent", SimpleNamespace(get_hub=lambda: SimpleNamespace(loop=loop)))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: loop.now))
    return loop


@pytest.fixture
def rules() -> Rules:
    return Rules()


@pytest.fixture
def pump(loop: Loop, rules: Rules) -> Pump:
    def perform(effect: Any) -> None:
        raise AssertionError(effect)

    pump = Pump(perform, rules.tick, rules.due, pytest.fail)
    pump.start()
    return pump


def test_rules_are_asked_when_they_want_it(loop: Loop, rules: Rules, pump: Pump) -> None:
    pump.put(rules.want, 102.0)
    loop.run()
    assert loop.set() == [pytest.approx(2.0, abs=0.001)]
    loop.ring()
    assert rules.ticks == [loop.now]
    assert loop.set() == []


@pytest.mark.parametrize("moment", [101.0, 103.0])
def test_timer_goes_with_what_the_rules_want(loop: Loop, rules: Rules, pump: Pump, moment: float) -> None:
    pump.put(rules.want, 102.0)
    loop.run()
    pump.put(rules.want, moment)
    loop.run()
    assert loop.set() == [pytest.approx(moment - 100.0, abs=0.001)]
    loop.ring()
    assert rules.ticks == [pytest.approx(moment, abs=0.001)]


def test_nobody_is_woken_when_the_rules_want_nothing_any_more(loop: Loop, rules: Rules, pump: Pump) -> None:
    pump.put(rules.want, 102.0)
    loop.run()
    pump.put(rules.want, None)
    loop.run()
    assert loop.set() == []


def test_what_is_due_already_is_done_at_once(loop: Loop, rules: Rules, pump: Pump) -> None:
    pump.put(rules.want, 99.0)
    loop.run()
    assert rules.ticks == [100.0]
    assert loop.set() == []


def test_pump_that_was_stopped_does_nothing(loop: Loop, rules: Rules, pump: Pump) -> None:
    pump.put(rules.want, 102.0)
    loop.run()
    pump.stop()
    assert loop.set() == []
    pump.put(rules.want, 99.0)
    loop.run()
    assert rules.ticks == []
