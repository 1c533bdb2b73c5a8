"""Where greenlets run in a user's program, and the only place where native threads meet them.

`client/cluster.py` makes a hub; any thread of the user may call `post`, `call`, `Gate.wait`.

In a program that gevent has not patched, the greenlets run in one native daemon thread with a loop
of its own: a program that computes between `submit` and `job()` does not stop its cluster, and need
not know of gevent. In a patched program they run on the program's own loop, since a native thread
beside patched locks deadlocks.

Invariants:
1. Into the hub leads one way: a deque and a doorbell (a loop's async watcher). gevent's own events and
   queues lose wake-ups when they are used between threads.
2. Out of the hub leads one way: a Gate, on raw locks or, where the waiting thread has a loop, on a
   watcher of that loop. It is chosen at each wait, so patching later does not matter.
3. What the user gives us to call runs in a thread (or greenlet) of its own, never in the hub.
4. In a forked child the hub is dead, and says so: its thread has stayed in the parent.
5. In a patched program Ctrl-C interrupts the program's own code, and no greenlet in the middle of what it does.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

_FIRST_IMPORT = "gevent" not in sys.modules

import gevent  # noqa: E402
import gevent.event  # noqa: E402
import gevent.hub  # noqa: E402
import gevent.monkey  # noqa: E402
import gevent.socket  # noqa: E402
from gevent.hub import Waiter  # noqa: E402

from gdispy.errors import ClusterClosed, ConfigError, ForkedError, InternalError  # noqa: E402
from gdispy.runtime.greenlets import spawn  # noqa: E402
from gdispy.runtime.limited_log import traceback_text  # noqa: E402

logger = logging.getLogger(__name__)

#: Seconds for which a thread lets the hub run at most.
LET_RUN_LIMIT = 0.05
#: Seconds that the hub's thread may take to end.
END_LIMIT = 2.0

_allocate_lock = gevent.monkey.get_original("_thread", "allocate_lock")

if _FIRST_IMPORT and threading.current_thread() is not threading.main_thread():
    # gevent takes the thread that imports it for the main one, and a program may make its first cluster in any.
    gevent.hub.MAIN_THREAD_IDENT = threading.main_thread().ident


def _import_what_gevent_imports_late() -> None:
    # In a new thread these imports can deadlock with imports of the main one.
    config = gevent.config
    for setting in (config.loop, config.format_context, config.threadpool, config.resolver, config.fileobject):
        assert setting is not None


class Gate:
    """Closed at first; `open` lets through all who wait and will wait. For threads and greenlets."""

    __slots__ = ("_open", "_wakers")

    def __init__(self) -> None:
        self._open = False
        self._wakers: list[Callable[[], None]] = []

    def open(self) -> None:
        # First the flag, then the wakers: `_pass` adds its waker first and looks at the flag then.
        self._open = True
        for wake in list(self._wakers):
            wake()

    def tell(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when the gate opens, at once if it is open: at least once, from any thread."""
        self._wakers.append(wake)
        if self._open:
            wake()

    def forget(self, wake: Callable[[], None]) -> None:
        """Take back what `tell` was told."""
        with contextlib.suppress(ValueError):
            self._wakers.remove(wake)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the gate is open; False if `timeout` seconds pass before."""
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
            # TIMEOUT_MAX is what a lock takes at most; longer waits would raise.
            lock.acquire(True, -1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        self._wakers.remove(wake)
        return self._open

    def _wait_on_loop(self, timeout: float | None) -> bool:
        hub = gevent.get_hub()
        waiter = Waiter(hub)
        watcher = hub.loop.async_()
        watcher.start(waiter.switch, True)
        # No `gevent.Timeout`: where Ctrl-C comes just when one has started, it is raised in another wait later. A timer
        # that is left wakes only this waiter, which nobody waits on then.
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
    """A lock may be released once only; a gate may be opened twice."""

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


def _have_ctrl_c_interrupt_the_program(hub: Any) -> None:
    """Python raises KeyboardInterrupt in whichever greenlet it finds: in the middle of a decision of ours, or in a
    reader, whose connection would end. Have it raised where the program waits, as gevent would do in the end.

    A second one, before that has come about, is raised at once: somebody keeps all others from running.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    pending: list[bool] = []

    def interrupt() -> None:
        if pending:
            pending.clear()
            hub.parent.throw(KeyboardInterrupt)

    def on_ctrl_c(number: int, frame: Any) -> None:
        if pending or gevent.getcurrent() is hub.parent:
            pending.clear()
            signal.default_int_handler(number, frame)
        pending.append(True)
        hub.loop.run_callback_threadsafe(interrupt)

    with contextlib.suppress(ValueError):  # In a native thread of its own, where no signal comes.
        signal.signal(signal.SIGINT, on_ctrl_c)


def _refuse_without_gil() -> None:
    is_there = getattr(sys, "_is_gil_enabled", None)  # From Python 3.13; a build without it gets it back from gevent.
    if is_there is not None and not is_there():
        raise ConfigError(
            "gevent needs Python's global lock (GIL), which this Python runs without: leave out PYTHON_GIL=0"
        )


def _refuse_eventlet() -> None:
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and any(map(patcher.is_monkey_patched, ("thread", "socket", "select"))):
        raise ConfigError(
            "eventlet has patched this program, and gdispy runs on gevent, whose waits would never end: leave out "
            "eventlet.monkey_patch(), or use gdispy in a process of its own"
        )


class WeakCall:
    """Calls a method of an object as long as that lives, and does not keep it alive."""

    __slots__ = ("_method",)

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = weakref.WeakMethod(method)

    def __call__(self, *args: Any) -> Any:
        method = self._method()
        return None if method is None else method(*args)


class Hub:
    """Runs greenlets beside the user's program. Use `Hub.get()`: one for each process."""

    _instance: Hub | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        _refuse_without_gil()
        _refuse_eventlet()
        self._letters: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._dead = False
        #: What is raised for one who asks a dead hub.
        self._error: type[ClusterClosed] = ForkedError
        self._errands = CallbackRunner()
        #: Called in a forked child, to close its copies of what belongs to the parent.
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
        """The hub of this process, made on first use."""
        with cls._lock:
            if cls._instance is None or cls._instance._dead:
                cls._instance = cls()
            return cls._instance

    def _set_up(self, started: Gate) -> None:
        hub = gevent.get_hub()
        if self.is_patched:
            _have_ctrl_c_interrupt_the_program(hub)
        else:
            # A SystemExit in some greenlet would otherwise end the whole thread without a word.
            hub.SYSTEM_ERROR = ()
        self._bell = hub.loop.async_(ref=not self.is_patched)
        self._bell.start(self._drain)
        self._thread = threading.get_ident()
        started.open()

    def _live(self, started: Gate) -> None:
        self._stop = gevent.event.Event()
        self._set_up(started)
        self._stop.wait()

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Have the hub call the function soon. It must not block. From any thread."""
        if self._dead:
            raise self._error
        self._letters.append((function, args))
        # Each time, since no flag of ours could be trusted that says it has been rung: Ctrl-C may come in between. The
        # loop has one of its own.
        self._bell.send()

    def let_run(self) -> None:
        """Let the hub do what was posted, now. A thread that posts on and on, and never waits, leaves it little time:
        after each system call it gets the interpreter back 5 ms later. Nothing in a patched program."""
        if self.is_patched or threading.get_ident() == self._thread:
            return
        gate = Gate()
        self.post(gate.open)
        # Also where this thread has a loop: nobody who submits expects other greenlets to have their turn.
        gate._wait_on_lock(LET_RUN_LIMIT)

    def _drain(self) -> None:
        letters = self._letters
        while letters:
            function, args = letters.popleft()
            try:
                function(*args)
            except BaseException as error:
                if self._dead and isinstance(error, self._error):  # It was to post more, and the program ends.
                    continue
                logger.error("gdispy: a defect in the hub\n%s", traceback_text(error))

    def call(self, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Any:
        """Have the hub call the function, in a greenlet, and wait for what it returns or raises.

        Raises InternalError if that takes longer than `timeout` seconds.
        """
        if not self.is_patched and threading.get_ident() == self._thread:
            raise InternalError("the hub would wait for itself")
        gate, answer = Gate(), _Answer()
        self.post(self._answer, gate, answer, function, args)
        if not gate.wait(timeout):
            raise InternalError(f"gdispy's hub did not answer within {timeout} s")
        if answer.error is not None:
            raise answer.error
        return answer.value

    def _answer(self, gate: Gate, answer: _Answer, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        def run() -> None:
            try:
                answer.value = function(*args)
            except BaseException as error:
                answer.error = error
            gate.open()

        spawn(run, what="an answer of the hub")  # It has a guard of its own: who has asked gets what it raises.

    def spawn(self, function: Callable[..., Any], *args: Any) -> None:
        """Start a greenlet in the hub; a failure of it is logged. From any thread."""
        self.post(self._spawn, function, args)

    def _spawn(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        def run() -> None:
            try:
                function(*args)
            except gevent.GreenletExit:
                pass
            except BaseException as error:
                logger.error("gdispy: a defect in a greenlet of the hub\n%s", traceback_text(error))

        spawn(run, what="a work of the hub")

    def errand(self, function: Callable[..., Any], *args: Any) -> None:
        """Call what the user gave us, apart from the hub, one after the other."""
        self._errands.put(function, args)

    def prepare_errands(self) -> None:
        """Start what runs errands. Before there are any, since late in a program's life no thread can be started; and
        in the hub, since Ctrl-C in the middle of starting a thread can leave it waiting for ever."""
        if self.is_patched or threading.get_ident() == self._thread:
            self._errands.start()
        else:
            self.call(self._errands.start)

    def is_errand(self) -> bool:
        """Whether the calling thread (patched: greenlet) runs what the user gave us."""
        return self._errands.is_runner()

    def _end(self) -> None:
        """End the thread, when the program ends and its clusters are closed. Python ends a thread that wakes up later
        by unwinding its stack, and over that of a greenlet this crashes."""
        self.post(self._stop.set)
        self._dead, self._error = True, ClusterClosed
        self._own_thread.join(END_LIMIT)

    def _die_in_child(self) -> None:
        self._dead = True
        for close in self.in_forked_child:
            close()
        Hub._lock = threading.Lock()


class CallbackRunner:
    """Calls functions of the user one after the other, in a thread (patched: a greenlet) of its own.

    One that takes longer than `PATIENCE` while others wait does not hold them up: they go on in
    another thread, and the log says so.
    """

    #: Seconds.
    PATIENCE = 5.0

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        # The user's thread takes the lock only, and never the condition: where Ctrl-C came just when that had taken the
        # lock, in Python, nobody would give it back. A lock of its own, taken by `with`, has no such moment.
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        self._runner: object = None
        #: The identifiers of all threads that run errands, those that were replaced and still run one included.
        self._threads: set[int] = set()
        self._began: float | None = None

    def start(self) -> None:
        with self._condition:
            if self._runner is None:
                self._replace_runner()
                _start(self._watch)

    def put(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        with self._condition:
            self._waiting.append((function, args))
            self._condition.notify_all()

    def is_runner(self) -> bool:
        return threading.get_ident() in self._threads

    def _replace_runner(self) -> None:
        self._runner = runner = object()
        _start(self._run, runner)

    def _run(self, runner: object) -> None:
        self._threads.add(threading.get_ident())
        try:
            self._run_errands(runner)
        finally:
            self._threads.discard(threading.get_ident())

    def _run_errands(self, runner: object) -> None:
        while True:
            with self._condition:
                while not self._waiting and self._runner is runner:
                    self._condition.wait()
                if self._runner is not runner:  # Replaced, and at last back from its errand.
                    return
                function, args = self._waiting.popleft()
                self._began = time.monotonic()
                if self._waiting:
                    self._condition.notify_all()  # `_watch` counts from now.
            try:
                function(*args)
            except BaseException:
                logger.exception("a callback failed: %s", getattr(function, "__qualname__", function))
            with self._condition:
                if self._runner is runner:
                    self._began = None
                self._condition.notify_all()

    def _watch(self) -> None:
        while True:
            with self._condition:
                while self._began is None or not self._waiting:
                    self._condition.wait()
                left = self._began + self.PATIENCE - time.monotonic()
                if left > 0:
                    self._condition.wait(left)
                    continue
                logger.warning("a callback has not returned for %.0f s; the others go on", self.PATIENCE)
                self._began = None
                self._replace_runner()


def _start(function: Callable[..., Any], *args: Any) -> None:
    threading.Thread(target=function, args=args, name="gdispy-callbacks", daemon=True).start()


class _Answer:
    value: Any = None
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


# Before clusters register what closes them, so after that.
atexit.register(_end_at_exit)
