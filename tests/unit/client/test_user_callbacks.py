"""Which calls of callbacks are queued, running and done, and what a failed one leaves."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy import DispyJob
from gdispy.client import user_callbacks as module
from gdispy.client.user_callbacks import UserCallbacks


class Made:
    """Callbacks whose calls wait in `queue` for `run`."""

    def __init__(self, on_job: Any = print, on_status: Any = None) -> None:
        self.queue: list[Any] = []
        self.prepared = self.done = 0
        self.callbacks = UserCallbacks(on_job, on_status)
        self.callbacks.on_done = self._done
        hub: Any = SimpleNamespace(
            prepare_callbacks=self._prepare, call_back=lambda function, *args: self.queue.append((function, args))
        )
        self.callbacks.use(hub)

    def _prepare(self) -> None:
        self.prepared += 1

    def _done(self) -> None:
        assert self.callbacks.are_done()
        self.done += 1

    def run(self) -> None:
        function, args = self.queue.pop(0)
        function(*args)


@pytest.mark.parametrize(("on_job", "on_status", "times"), [(None, None, 0), (print, None, 1), (None, print, 1)])
def test_runner_of_callbacks_is_started_only_if_there_are_any(on_job: Any, on_status: Any, times: int) -> None:
    assert Made(on_job, on_status).prepared == times


def test_calls_are_done_when_the_last_has_returned() -> None:
    made, seen = Made(), list[int]()
    for number in range(2):
        made.callbacks.give(seen.append, number)
    assert not made.callbacks.are_done() and seen == []
    made.run()
    assert not made.callbacks.are_done() and made.done == 0
    made.run()
    assert made.callbacks.are_done() and made.done == 1 and seen == [0, 1]


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt(), SystemExit(1)])
def test_failed_call_is_logged_by_name_and_is_done(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    made = Made()

    def on_job(job: Any) -> None:
        raise error

    made.callbacks.give(on_job, None)
    made.run()
    assert made.callbacks.are_done() and made.done == 1 and made.callbacks._running == {}
    (record,) = caplog.records
    assert record.getMessage().startswith("a callback failed: ") and record.getMessage().endswith("on_job")
    assert record.exc_info is not None and record.exc_info[1] is error


def test_end_is_reported_with_the_status_at_the_time_of_the_call() -> None:
    seen: list[Any] = []
    made = Made(None, lambda *args: seen.append(args))
    job: Any = SimpleNamespace(status=1)
    made.callbacks.give_status("node", job)
    job.status = 11
    made.run()
    assert seen == [(11, "node", job)]


def test_end_without_a_status_callback_is_no_call() -> None:
    made = Made()
    made.callbacks.give_status("node", None)  # type: ignore[arg-type]
    assert made.queue == [] and made.callbacks.are_done()


def test_calls_that_wait_are_described_by_their_number() -> None:
    made = Made()
    for _ in range(3):
        made.callbacks.give(print)
    assert made.callbacks.unfinished() == "3 callback calls"


def test_running_call_is_described_by_its_function_its_job_and_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    made, described = Made(), list[str]()

    def on_status(status: int, node: Any, job: Any) -> None:
        now[0] += 7.4
        described.append(made.callbacks.unfinished())

    on_status.__qualname__ = "store"
    made.callbacks.on_status = on_status
    job = DispyJob._new(5, 0.0, b"")
    made.callbacks.give_status("node", job)
    made.callbacks.give(on_status, 1, "node", None)
    made.run()
    made.run()
    text = "the callback store for job 5, which has been running for 7 s, and 1 call queued behind it"
    assert described == [text, "the callback store, which has been running for 7 s"]


def test_longest_running_call_is_the_one_described() -> None:
    made = Made()
    for number in range(2):
        made.callbacks._given += 1
        made.callbacks._running[number] = (f"call {number}", None, 10.0 - number)
    assert made.callbacks.unfinished().startswith("the callback call 1, which")


def test_callable_without_a_name_is_described_somehow(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "gdispy")

    class Fails:
        def __call__(self) -> None:
            raise ValueError

        def __str__(self) -> str:
            return "an object"

    made = Made()
    made.callbacks.give(Fails())
    made.run()
    assert caplog.messages == ["a callback failed: an object"]
