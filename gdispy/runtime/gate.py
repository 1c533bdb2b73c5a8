"""A one-shot event for threads and greenlets: the only way out of the hub.

Usable in any thread. A waiting thread that has a gevent loop waits on a watcher of that loop, any other on a raw lock;
this is decided at each wait, so that a program may be patched later.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import gevent
import gevent.monkey
from gevent.hub import Waiter

_allocate_lock = gevent.monkey.get_original("_thread", "allocate_lock")


class Gate:
    """Initially closed; `open` releases all current and future waiters. For threads and greenlets."""

    __slots__ = ("_open", "_wakers")

    def __init__(self) -> None:
        self._open = False
        self._wakers: list[Callable[[], None]] = []

    def open(self) -> None:
        # Set the flag before reading the wakers: `_pass` adds its waker before it reads the flag.
        self._open = True
        for wake in list(self._wakers):
            wake()

    def tell(self, wake: Callable[[], None]) -> None:
        """Call `wake` when the gate opens, or now if it is open: at least once, from any thread."""
        self._wakers.append(wake)
        if self._open:
            wake()

    def forget(self, wake: Callable[[], None]) -> None:
        """Undo `tell`."""
        with contextlib.suppress(ValueError):
            self._wakers.remove(wake)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the gate is open; False if `timeout` seconds pass first."""
        if self._open:
            return True
        if timeout is not None and timeout <= 0:
            return False
        if gevent.monkey.is_module_patched("threading") or _has_loop():
            return self._wait_on_loop(timeout)
        return self._wait_on_lock(timeout)

    def _wait_on_lock(self, timeout: float | None) -> bool:
        lock = _allocate_lock()
        lock.acquire()
        wake = _Once(lock.release)
        self._wakers.append(wake)
        if not self._open:
            # The maximum of a lock; longer waits would raise.
            lock.acquire(True, -1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        self._wakers.remove(wake)
        return self._open

    def _wait_on_loop(self, timeout: float | None) -> bool:
        hub = gevent.get_hub()
        waiter = Waiter(hub)
        watcher = hub.loop.async_()
        watcher.start(waiter.switch, True)
        # Not `gevent.Timeout`: if Ctrl-C comes just when one has started, it is raised in another wait later. A stale
        # timer wakes only this waiter, on which nothing waits then.
        timer = None if timeout is None else hub.loop.timer(timeout)
        self._wakers.append(watcher.send)
        try:
            if timer is not None:
                timer.start(waiter.switch, False)
            if not self._open:
                waiter.get()
        finally:
            self._wakers.remove(watcher.send)
            for each in (watcher, timer):
                if each is not None:
                    each.stop()
                    each.close()
        return self._open


class _Once:
    """A lock may be released only once; a gate may be opened twice."""

    __slots__ = ("_done", "_release")

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._done = False

    def __call__(self) -> None:
        if not self._done:
            self._done = True
            self._release()


def _has_loop() -> bool:
    return gevent._hub_local.get_hub_if_exists() is not None
