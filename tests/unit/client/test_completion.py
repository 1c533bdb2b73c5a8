"""Waiting for jobs and callbacks. With a hub: `tests/integration/test_callbacks.py`."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.client import completion as module
from gdispy.client.completion import Completion


class Waited(Exception):
    """Nothing would end this wait."""


class Made:
    """The count of a cluster; each wait lets the next of `events` happen instead, or its time pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *events: Any) -> None:
        self.events = list(events)
        self.is_callback = False
        self.are_done = True
        self.now = 100.0
        self.waits: list[float | None] = []
        self.callbacks: Any = SimpleNamespace(
            are_done=lambda: self.are_done, unfinished=lambda: "the callback g", on_done=None
        )
        hub: Any = SimpleNamespace(is_callback=lambda: self.is_callback)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(module, "Gate", self._gate)
        self.count = Completion("f", hub, self.callbacks)

    def _gate(self) -> Any:
        gate = SimpleNamespace(is_open=False)
        gate.open = lambda: setattr(gate, "is_open", True)
        gate.wait = lambda timeout: self._wait(gate, timeout)
        return gate

    def _wait(self, gate: Any, timeout: float | None) -> bool:
        self.waits.append(timeout)
        if self.events:
            self.events.pop(0)()
        elif timeout is None:
            raise Waited
        if not gate.is_open and timeout is not None:
            self.now += max(0.0, timeout)
        elif not gate.is_open:
            raise Waited
        return bool(gate.is_open)

    def end(self, count: int = 1, failed: int = 0) -> Any:
        return lambda: self.count.end(count, failed)

    def finish_callbacks(self) -> None:
        self.are_done = True
        self.callbacks.on_done()


def test_cluster_without_jobs_is_idle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    assert made.count.wait(0) and made.count.wait_patiently() and made.waits == []


def test_end_of_the_last_job_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.events = [lambda: (made.count.end(1, 1), made.count.end(1, 0))]
    made.count.made = 2
    assert made.count.wait()
    assert (made.count.pending, made.count.failed) == (0, 1)


def test_earlier_ends_wake_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.events = [made.end()]
    made.count.made = 2
    with pytest.raises(Waited):
        made.count.wait()
    assert made.count.pending == 1 and len(made.waits) == 1


def test_wait_that_is_over_time_leaves_no_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.count.made = 1
    assert not made.count.wait(5.0)
    assert made.waits == [5.0] and made.count._gates == []


def test_end_between_the_check_and_the_wait_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.count.made = 1
    real = made.count._gates

    class Gates(list):  # type: ignore[type-arg]
        def append(self, gate: Any) -> None:
            super().append(gate)
            made.count.end(1, 0)

    monkeypatch.setattr(made.count, "_gates", Gates(real))
    assert made.count.wait() and made.waits == []


def test_callbacks_are_waited_for_unless_only_jobs_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.are_done = False
    assert made.count.wait(jobs_only=True)
    assert not made.count.wait(1.0)
    made.events = [made.finish_callbacks]
    assert made.count.wait()


def test_callback_that_waits_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.are_done, made.is_callback = False, True
    assert made.count.wait()
    made.count.await_callbacks(None)
    assert made.waits == []


def test_job_that_the_last_callback_submits_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.count.made = made.count.ended = 1

    def are_done() -> bool:
        if made.count.made == 1:
            made.count.made = 2
        return True

    made.callbacks.are_done = are_done
    assert not made.count.wait(1.0)


def test_patient_wait_names_the_callback_that_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    made = Made(monkeypatch)
    made.are_done = False
    assert not made.count.wait_patiently(20.0)
    assert made.waits == [module.PATIENCE, 20.0 - module.PATIENCE]
    assert caplog.messages == ["f: waiting for the callback g; Ctrl-C stops waiting"]


def test_patient_wait_for_jobs_reports_no_callback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = Made(monkeypatch)
    made.count.made = 1
    made.are_done = False
    assert not made.count.wait_patiently(20.0)
    assert made.waits == [20.0] and caplog.messages == []


@pytest.mark.parametrize("limit", [0.0, 2.0])
def test_closing_waits_for_callbacks_up_to_its_limit(
    limit: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    made = Made(monkeypatch)
    made.are_done = False
    made.count.await_callbacks(limit)
    assert made.waits == [limit]
    assert caplog.messages == ["f: closed without waiting for the callback g"]


def test_closing_without_a_limit_waits_until_they_have_returned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    made = Made(monkeypatch)
    made.are_done = False
    made.events = [lambda: None, made.finish_callbacks]
    made.count.await_callbacks(None)
    assert made.waits == [module.PATIENCE, None]
    assert caplog.messages == ["f: waiting for the callback g; Ctrl-C stops waiting"]
