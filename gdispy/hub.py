"""Runs the greenlets of a user's program, and is the only bridge to its native threads.

Any thread of the user may call `post` and `call`, and wait for a `Gate`.

In a program that gevent has not patched, the greenlets run in one native daemon thread with a separate loop: computing
between `submit` and `job()` does not stop the cluster, and the program need not use gevent. In a patched program they
run on the program's loop, since a native thread deadlocks with patched locks.

Invariants:
1. Calls enter the hub only through a deque and a wake-up (a loop's async watcher). gevent's own events and queues lose
   wake-ups when they are used between threads.
2. Results leave the hub only through a Gate, on raw locks or, if the waiting thread has a loop, on a watcher of that
   loop. This is decided at each wait, so a program may be patched later.
3. Callbacks of the user run in a separate thread (or greenlet), never in the hub.
4. In a forked child the hub is dead and raises ForkedError: its thread stayed in the parent.
5. In a patched program Ctrl-C interrupts the program's code, not a greenlet of gdispy.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

import gevent
import gevent.event
import gevent.hub
import gevent.monkey
import gevent.socket

from gdispy.errors import ClusterClosed, ConfigError, ForkedError, InternalError
from gdispy.runtime.callbacks import CallbackRunner
from gdispy.runtime.gate import Gate
from gdispy.runtime.greenlets import spawn
from gdispy.runtime.limited_log import traceback_text

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    Args = TypeVarTuple("Args")

T = TypeVar("T")
P = ParamSpec("P")

logger = logging.getLogger(__name__)

#: Maximum time in seconds for which a thread lets the hub run.
LET_RUN_LIMIT = 0.05
#: Time limit in seconds for the end of the hub's thread.
END_LIMIT = 2.0

if not gevent.monkey.is_module_patched("threading"):
    # gevent takes the thread that imports it for the main thread, and a program may create its first cluster in any
    # thread.
    gevent.hub.MAIN_THREAD_IDENT = threading.main_thread().ident


def _import_what_gevent_imports_late() -> None:
    # In a new thread these imports can deadlock with imports of the main thread.
    config = gevent.config
    for setting in (config.loop, config.format_context, config.threadpool, config.resolver, config.fileobject):
        assert setting is not None


def _have_ctrl_c_interrupt_the_program(hub: gevent.hub.Hub) -> None:
    """Python raises KeyboardInterrupt in an arbitrary greenlet: during a decision of the rules, or in a reader, whose
    connection would end. Raise it where the program waits instead, as gevent does at last.

    A second Ctrl-C before the first was delivered is raised immediately: some greenlet is blocking the loop.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    pending: list[bool] = []

    def interrupt() -> None:
        if pending:
            pending.clear()
            hub.parent.throw(KeyboardInterrupt)

    def on_ctrl_c(number: int, frame: FrameType | None) -> None:
        if pending or gevent.getcurrent() is hub.parent:
            pending.clear()
            signal.default_int_handler(number, frame)
        pending.append(True)
        hub.loop.run_callback_threadsafe(interrupt)

    with contextlib.suppress(ValueError):  # In a native thread, which receives no signals.
        signal.signal(signal.SIGINT, on_ctrl_c)


def _refuse_without_gil() -> None:
    is_there = getattr(
        sys, "_is_gil_enabled", None
    )  # From Python 3.13; in a build without the GIL, gevent enables it again.
    if is_there is not None and not is_there():
        raise ConfigError(
            "gevent requires Python's global interpreter lock (GIL), which is disabled here: omit PYTHON_GIL=0"
        )


def _refuse_eventlet() -> None:
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and any(map(patcher.is_monkey_patched, ("thread", "socket", "select"))):
        raise ConfigError(
            "eventlet has patched this program, but gdispy runs on gevent, whose waits would never end: omit "
            "eventlet.monkey_patch(), or use gdispy in a separate process"
        )


class WeakCall(Generic[P]):
    """Calls a method of an object while it exists, without keeping it alive."""

    __slots__ = ("_method",)

    def __init__(self, method: Callable[P, None]) -> None:
        self._method = weakref.WeakMethod(method)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        method = self._method()
        if method is not None:
            method(*args, **kwargs)


class Hub:
    """Runs greenlets beside the user's program. Use `Hub.get()`: there is one per process."""

    _instance: Hub | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        _refuse_without_gil()
        _refuse_eventlet()
        self._tasks: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._dead = False
        #: The exception for calls to a dead hub.
        self._error: type[ClusterClosed] = ForkedError
        self._callbacks = CallbackRunner()
        #: Called in a forked child, to close its copies of descriptors of the parent.
        self.in_forked_child: list[Callable[[], None]] = []
        self.is_patched = gevent.monkey.is_module_patched("threading")
        started = Gate()
        if self.is_patched:
            self._set_up(started)
        else:
            _import_what_gevent_imports_late()
            self._own_thread = threading.Thread(target=self._live, args=(started,), name="gdispy-hub", daemon=True)
            self._own_thread.start()
            started.wait()

    @classmethod
    def get(cls) -> Hub:
        """The hub of this process, created on first use."""
        with cls._lock:
            if cls._instance is None or cls._instance._dead:
                cls._instance = cls()
            return cls._instance

    def _set_up(self, started: Gate) -> None:
        hub = gevent.get_hub()
        if self.is_patched:
            _have_ctrl_c_interrupt_the_program(hub)
        else:
            # A SystemExit in a greenlet would otherwise end the whole thread silently.
            hub.SYSTEM_ERROR = ()
        self._wakeup = hub.loop.async_(ref=not self.is_patched)
        self._wakeup.start(self._drain)
        self._thread = threading.get_ident()
        started.open()

    def _live(self, started: Gate) -> None:
        self._stop = gevent.event.Event()
        self._set_up(started)
        self._stop.wait()

    def post(self, function: Callable[[Unpack[Args]], object], *args: Unpack[Args]) -> None:
        """Make the hub call the function soon. It must not block. From any thread."""
        if self._dead:
            raise self._error
        self._tasks.append((function, args))
        # Each time, since a flag for pending wake-ups would not be safe: Ctrl-C may come in between.
        # The loop has such a flag.
        self._wakeup.send()

    def let_run(self) -> None:
        """Let the hub run posted functions now. A thread that posts continuously, and never waits, leaves it little
        time, since it gets the interpreter back only after the switch interval. No effect in a patched program."""
        if self.is_patched or threading.get_ident() == self._thread:
            return
        gate = Gate()
        self.post(gate.open)
        # Even if this thread has a loop: a caller of `submit` does not expect other greenlets to run.
        gate._wait_on_lock(LET_RUN_LIMIT)

    def _drain(self) -> None:
        tasks = self._tasks
        while tasks:
            function, args = tasks.popleft()
            try:
                function(*args)
            except BaseException as error:
                if self._dead and isinstance(error, self._error):  # More posts were expected, but the program ends.
                    continue
                logger.error("gdispy: a defect in the hub\n%s", traceback_text(error))

    def call(self, function: Callable[[Unpack[Args]], T], *args: Unpack[Args], timeout: float | None = None) -> T:
        """Make the hub call the function, in a greenlet, and wait for its result or exception.

        Raises InternalError if that takes longer than `timeout` seconds.
        """
        if not self.is_patched and threading.get_ident() == self._thread:
            raise InternalError("the hub cannot wait for itself")
        gate = Gate()
        answer: _Answer[T] = _Answer()
        self.post(self._answer, gate, answer, function, args)
        if not gate.wait(timeout):
            raise InternalError(f"gdispy's hub did not answer within {timeout} s")
        if answer.error is not None:
            raise answer.error
        return answer.value

    def _answer(
        self, gate: Gate, answer: _Answer[T], function: Callable[[Unpack[Args]], T], args: tuple[Unpack[Args]]
    ) -> None:
        def run() -> None:
            try:
                answer.value = function(*args)
            except BaseException as error:
                answer.error = error
            gate.open()

        spawn(run, what="a call in the hub")  # It handles its own errors: the waiting thread gets the exception.

    def spawn(self, function: Callable[[Unpack[Args]], object], *args: Unpack[Args]) -> None:
        """Start a greenlet in the hub; a failure is logged. From any thread."""
        self.post(self._spawn, function, args)

    def _spawn(self, function: Callable[[Unpack[Args]], object], args: tuple[Unpack[Args]]) -> None:
        def run() -> None:
            try:
                function(*args)
            except gevent.GreenletExit:
                pass
            except BaseException as error:
                logger.error("gdispy: a defect in a greenlet of the hub\n%s", traceback_text(error))

        spawn(run, what="a task of the hub")

    def call_back(self, function: Callable[[Unpack[Args]], object], *args: Unpack[Args]) -> None:
        """Call a function of the user outside the hub; calls run one after the other."""
        self._callbacks.put(function, args)

    def prepare_callbacks(self) -> None:
        """Start the callback runner. Before it is needed, since no thread can be started late in a program's life; and
        in the hub, since Ctrl-C while a thread is started can make it wait for ever."""
        if self.is_patched or threading.get_ident() == self._thread:
            self._callbacks.start()
        else:
            self.call(self._callbacks.start)

    def is_callback(self) -> bool:
        """Whether the calling thread (patched: greenlet) runs a callback of the user."""
        return self._callbacks.is_runner()

    def _end(self) -> None:
        """End the thread, when the program ends and its clusters are closed. Python ends a thread that wakes up later
        by unwinding its stack, which crashes on the stack of a greenlet."""
        self.post(self._stop.set)
        self._dead, self._error = True, ClusterClosed
        self._own_thread.join(END_LIMIT)

    def _die_in_child(self) -> None:
        self._dead = True
        for close in self.in_forked_child:
            close()
        Hub._lock = threading.Lock()


class _Answer(Generic[T]):
    #: Unset until the call has returned.
    value: T
    error: BaseException | None = None


def _after_fork_in_child() -> None:
    if Hub._instance is not None:
        Hub._instance._die_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _end_at_exit() -> None:
    hub = Hub._instance
    if hub is not None and not hub.is_patched and not hub._dead:
        hub._end()


# Registered before clusters register their closing, so it runs after that.
atexit.register(_end_at_exit)
