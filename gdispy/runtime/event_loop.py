"""The parts of gevent's loop that are used here, as types: gevent's own interfaces are unknown to the type checker.

Nothing in it does anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Watcher(Protocol):
    """A timer, or a watcher of a file descriptor or of a call in another thread."""

    def start(self, callback: Callable[..., object], *args: object) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


class AsyncWatcher(Watcher, Protocol):
    """A watcher that another thread can wake."""

    def send(self) -> None: ...


class EventLoop(Protocol):
    """The loop of a thread, `gevent.get_hub().loop`."""

    def timer(self, after: float, repeat: float = 0.0, ref: bool = True) -> Watcher: ...

    def io(self, fd: int, events: int) -> Watcher: ...

    def async_(self, ref: bool = True) -> AsyncWatcher: ...

    def run_callback(self, callback: Callable[..., object], *args: object) -> object: ...

    def run_callback_threadsafe(self, callback: Callable[..., object], *args: object) -> object: ...
