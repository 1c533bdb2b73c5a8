"""Beside the hub: what the user gave us to call, one after the other, and nobody is held up for long."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from gdispy.errors import ConfigError
from gdispy.hub import Hub
from gdispy.runtime.callbacks import CallbackRunner

#: Seconds until a test gives up.
LIMIT = 20


def done(callbacks: CallbackRunner) -> threading.Event:
    """Set when all callbacks given so far have been run."""
    event = threading.Event()
    callbacks.put(event.set, ())
    return event


def test_callbacks_run_in_order() -> None:
    callbacks, seen = CallbackRunner(), list[int]()
    callbacks.start()
    for number in range(100):
        callbacks.put(seen.append, (number,))
    assert done(callbacks).wait(LIMIT)
    assert seen == list(range(100))


@pytest.mark.parametrize("behind", [1, 5])
def test_one_that_blocks_holds_the_others_up_for_a_while_only(behind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallbackRunner, "PATIENCE", 0.05)
    release, passed = threading.Event(), threading.Semaphore(0)
    callbacks = CallbackRunner()
    callbacks.start()
    try:
        callbacks.put(release.wait, ())
        for _ in range(behind):
            callbacks.put(passed.release, ())
        assert all(passed.acquire(timeout=LIMIT) for _ in range(behind))
    finally:
        release.set()
    assert done(callbacks).wait(LIMIT)


def test_one_that_fails_or_exits_is_told_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise SystemExit(3)

    callbacks, seen = CallbackRunner(), list[int]()
    callbacks.start()
    callbacks.put(fail, ())
    callbacks.put(seen.append, (1,))
    assert done(callbacks).wait(LIMIT)
    assert seen == [1] and "a callback failed" in caplog.text


def test_python_without_its_global_lock_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(ConfigError, match="gevent requires Python's global interpreter lock"):
        Hub()


def test_patched_runner_does_not_switch_while_it_holds_the_lock() -> None:
    """The hub could not wait for it in `put`."""
    code = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent
from gdispy.runtime.callbacks import CallbackRunner
callbacks, seen = CallbackRunner(), []
callbacks.start()
gevent.sleep(0.01)
held = []
def look():
    held.append(callbacks._lock.locked())
for number in range(1000):
    callbacks.put(seen.append, (number,))
    gevent.get_hub().loop.run_callback(look)
    gevent.sleep(0)
while len(seen) < 1000:
    gevent.sleep(0.01)
print(len(held), any(held))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "1000 False\n", done.stderr
