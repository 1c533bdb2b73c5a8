"""Undoes the changes of a job to its process.

Standard library. A template installs the watch (`Changes.watch`) before it loads its computation; a worker undoes
changes after each job. Nothing is compared after a job that changes nothing: the functions that change a process record
the previous state first, once for each setting. Only a few objects that a plain assignment can replace are compared by
identity.

Changes that a module makes while it is imported are kept, like the module: they would not be made again for the next
job. This does not apply to modules of the job itself, which are removed with it (`job_modules.py`).

Some changes cannot be undone by the process, such as a lower hard limit or another user: then `is_beyond_repair` is
set, and a new worker runs the next job. The same applies to threads of a job that keep running.
"""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import functools
import gc
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import types
import warnings
import weakref
from collections.abc import Callable, Hashable
from typing import Any

Undo = Callable[[], object]

#: Settings that no process can restore.
_FINAL = (
    *("nice", "setpriority", "chroot", "setuid", "setgid", "seteuid", "setegid", "setreuid", "setregid"),
    *("setresuid", "setresgid", "setgroups", "initgroups"),
)
_setitimer = signal.setitimer
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
#: State of a logger: handlers, level, propagation, whether it is disabled, filters.
_LoggerState = tuple[list[logging.Handler], int, bool, bool, list[Any]]
#: How often, and for how many seconds each time, ending threads are waited for.
_LOOKS, _LOOK = 20, 0.0005
#: Number of checks after which idle threads are considered permanently idle: they may be between two tasks.
_SURE = 2
#: Directories with code of Python and of installed libraries.
_PYTHON = (os.path.dirname(os.__file__) + os.sep, "<frozen ")
_INSTALLED = ("/site-packages/", "/dist-packages/")
#: How often undoing is restarted after an interruption by a late signal of the job.
_ROUNDS = 5


class WatchedList(list):  # type: ignore[type-arg]
    """`sys.path` and similar lists: records each change by calling `note` with the method and its arguments."""

    note: Callable[[WatchedList, str, tuple[Any, ...]], None]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def _noting(name: str) -> Callable[..., Any]:
    original = getattr(list, name)

    @functools.wraps(original)
    def change(self: WatchedList, *args: Any, **kwargs: Any) -> Any:
        self.note(self, name, args)
        return original(self, *args, **kwargs)

    return change


for _name in ("append", "extend", "insert", "remove", "pop", "clear", "reverse", "sort"):
    setattr(WatchedList, _name, _noting(_name))
for _name in ("__setitem__", "__delitem__", "__iadd__", "__imul__"):
    setattr(WatchedList, _name, _noting(_name))


def nothing_brought(_file: object) -> bool:
    return False


class Changes:
    """The changes of the running job to its process."""

    def __init__(self) -> None:
        #: Functions that undo each change; empty if nothing was changed.
        self.made: dict[Hashable, Undo] = {}
        self.is_beyond_repair = False
        #: Whether this is the file of a module of the job: its changes during import are not kept.
        self.is_brought: Callable[[object], bool] = nothing_brought
        #: Previous contents of watched lists that the job has changed, by identity.
        self._lists: dict[int, list[Any]] = {}
        #: Threads started by modules during their import.
        self._kept_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        #: Threads that existed when the process was forked; they do not run here but are counted.
        self.threads = 0
        #: Replacements by `unittest.mock` that last until they are stopped, and the number that jobs inherit.
        self._patches: list[Any] = []
        self._patches_found = 0
        self._find_objects()
        #: Whether there is anything to undo.
        self.are_any = self._comparison()

    def _find_objects(self) -> None:
        """Objects that are compared by identity after each job, in their current state."""
        self._path: list[str] = sys.path
        self._environment = os.environ
        self._filters: Any = warnings.filters
        self._argv = sys.argv
        self._stdin = sys.stdin
        self._excepthook = sys.excepthook
        self._thread_excepthook = threading.excepthook
        self._tempdir = tempfile.tempdir

    def _comparison(self) -> Callable[[], object]:
        """Whether there is anything to undo. Called after each job and each call: its operands are local variables for
        speed."""
        made, patches, patches_found = self.made, self._patches, self._patches_found
        path, environment, filters = self._path, self._environment, self._filters
        argv, stdin = self._argv, self._stdin
        # If setup has closed it, it stays closed.
        input_ = stdin if getattr(stdin, "closed", True) is False else types.SimpleNamespace(closed=False)
        excepthook, thread_excepthook = self._excepthook, self._thread_excepthook
        tempdir = self._tempdir

        def are_any() -> object:
            try:
                return (
                    made
                    or sys.path is not path
                    or os.environ is not environment
                    or warnings.filters is not filters
                    or sys.argv is not argv
                    or sys.stdin is not stdin
                    or input_.closed
                    or sys.excepthook is not excepthook
                    or threading.excepthook is not thread_excepthook
                    or tempfile.tempdir is not tempdir
                    or len(patches) != patches_found
                )
            except AttributeError:  # The job has deleted one of them.
                return True

        return are_any

    def _put_objects_back(self) -> None:
        sys.path = self._path
        sys.argv = self._argv
        if self._stdin is not None and self._stdin.closed:
            self._stdin = open(0, closefd=False)
            self.are_any = self._comparison()
        sys.stdin = self._stdin
        sys.excepthook = self._excepthook
        threading.excepthook = self._thread_excepthook
        # None if jobs inherit none: one found later may depend on the job's environment.
        tempfile.tempdir = self._tempdir

    def find_patches(self) -> None:
        """Modules have been imported, possibly `unittest.mock`."""
        mock: Any = sys.modules.get("unittest.mock")
        with contextlib.suppress(AttributeError):
            self._patches = mock._patch._active_patches
        self.are_any = self._comparison()

    # Watching

    def watch(self) -> None:
        """Wrap the functions that change a process so that they record changes. Once per process, before jobs run."""
        WatchedList.note = self._note_list
        sys.path = WatchedList(sys.path)
        sys.argv = WatchedList(sys.argv)
        sys.meta_path = WatchedList(sys.meta_path)
        sys.path_hooks = WatchedList(sys.path_hooks)
        self._watch_kernel()
        self._watch_signals()
        self._watch_python()
        self._watch_logging()
        self._watch_decimal()

    def begin(self) -> None:
        """In a worker, just forked: the current state is the initial state of all of its jobs."""
        self.made.clear()
        self._lists.clear()
        self._watch_decimal()
        self.threads = _thread._count()
        self._find_objects()
        self.find_patches()
        self._patches_found = len(self._patches)
        self.are_any = self._comparison()
        self.is_beyond_repair = False

    def _watch_kernel(self) -> None:
        for name in ("putenv", "unsetenv"):
            self._hook(os, name, self._note_environment)
        for name in ("chdir", "fchdir"):
            self._hook(os, name, self._note_directory)
        umask = self._hook(os, "umask", lambda *_: self._note("umask", lambda: _undo_umask(umask)))
        if hasattr(os, "sched_setaffinity"):
            self._hook(os, "sched_setaffinity", self._note_affinity)
        self._hook(resource, "setrlimit", self._note_limit)
        self._hook(resource, "prlimit", lambda _, which, *limits: self._note_limit(which, *limits))
        for name in _FINAL:
            if hasattr(os, name):
                self._hook(os, name, self._note_final)

    def _watch_signals(self) -> None:
        self._hook(signal, "signal", self._note_handler)
        for name in ("alarm", "setitimer"):
            self._hook(signal, name, lambda *_: self._note("timers", lambda: _stop_timers))
        wakeup = self._hook(
            signal, "set_wakeup_fd", lambda *_, **__: self._note("wakeup", lambda: functools.partial(wakeup, -1))
        )
        mask = self._hook(signal, "pthread_sigmask", lambda *_: self._note("mask", lambda: _undo_mask(mask)))

    def _watch_python(self) -> None:
        for name in ("simplefilter", "filterwarnings", "resetwarnings"):
            self._hook(warnings, name, lambda *_, **__: self._note("warnings", self._undo_warnings))
        self._watch_tracing()
        self._hook(locale, "setlocale", self._note_locale)
        for name in ("enable", "disable"):
            self._hook(gc, name, lambda: self._note("gc", _undo_gc))
        self._hook(sys, "setrecursionlimit", lambda _: self._note("recursion", _undo_recursion))
        self._hook(socket, "setdefaulttimeout", lambda _: self._note("timeout", _undo_timeout))
        seed = self._hook(random, "seed", lambda *_, **__: self._note("random", lambda: seed))
        self._hook(threading.Thread, "start", self._note_thread)

    def _watch_tracing(self) -> None:
        trace, profile = sys.settrace, sys.setprofile
        self._hook(sys, "settrace", lambda _: self._note("trace", lambda: functools.partial(trace, sys.gettrace())))
        self._hook(
            sys, "setprofile", lambda _: self._note("profile", lambda: functools.partial(profile, sys.getprofile()))
        )
        for name in ("settrace", "setprofile"):
            self._hook(threading, name, lambda _: self._note("threads", _undo_tracing_of_threads))
        self._hook(sys, "setswitchinterval", lambda _: self._note("switching", _undo_switching))
        self._hook(gc, "set_threshold", lambda *_: self._note("threshold", _undo_threshold))
        if hasattr(sys, "set_int_max_str_digits"):
            self._hook(sys, "set_int_max_str_digits", lambda *_, **__: self._note("digits", _undo_digits))
        self._hook(
            faulthandler,
            "dump_traceback_later",
            lambda *_, **__: self._note("dump", lambda: faulthandler.cancel_dump_traceback_later),
        )

    def _watch_decimal(self) -> None:
        """A context created in a job is dropped, since each job has separate context variables; one created by setup is
        shared."""
        decimal: Any = sys.modules.get("decimal")
        if decimal is not None and hasattr(decimal, "getcontext") and not hasattr(decimal.getcontext, "__wrapped__"):
            current = decimal.getcontext
            self._hook(decimal, "getcontext", lambda: self._note("decimal", lambda: _undo_decimal(current())))

    def _watch_logging(self) -> None:
        for name in ("addHandler", "removeHandler", "setLevel", "addFilter", "removeFilter"):
            self._hook(logging.Logger, name, self._note_logger)
        self._hook(logging, "disable", lambda *_, **__: self._note("logging", _undo_disable))
        self._hook(logging, "captureWarnings", lambda _: self._note("capture", _undo_capture))

    def _hook(self, owner: Any, name: str, note: Callable[..., object]) -> Any:
        """Wrap a function so that it calls `note` with its arguments first; returns the original."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def changing(*args: Any, **kwargs: Any) -> Any:
            with contextlib.suppress(Exception):  # Invalid arguments are refused by the function itself.
                note(*args, **kwargs)
            return original(*args, **kwargs)

        setattr(owner, name, changing)
        return original

    def _note(self, key: Hashable, undo: Callable[[], Undo]) -> None:
        """A setting is about to change: record its current value, unless it is recorded."""
        if key not in self.made and not self._is_importing():
            self.made[key] = undo()

    def _is_importing(self) -> bool:
        """Whether a module is being imported that will be kept."""
        module: types.FrameType | None = None
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if code.co_name == "<module>":
                module = frame
            elif module is not None and code.co_filename == "<frozen importlib._bootstrap>":
                return not self.is_brought(module.f_globals.get("__file__"))
            frame = frame.f_back
        return False

    def _note_list(self, changed: WatchedList, method: str, args: tuple[Any, ...]) -> None:
        key = id(changed)
        before = self._lists.get(key)
        if self._is_importing():
            if before is not None:
                with contextlib.suppress(ValueError, IndexError):
                    getattr(list, method)(before, *args)
        elif before is None:
            self._lists[key] = before = list(changed)
            self.made[key] = lambda: list.__setitem__(changed, slice(None), before)

    def _note_environment(self, key: bytes | str, _value: object = None) -> None:
        name = os.fsencode(key)
        self._note(("environment", name), lambda: functools.partial(_set_variable, name, os.environb.get(name)))

    def _note_directory(self, *_: object) -> None:
        """Undoing restores the directory, also if a module has changed it."""
        self.made["directory"] = lambda: None

    def _note_affinity(self, pid: int, _mask: object) -> None:
        if pid in (0, os.getpid()):
            self._note("affinity", _undo_affinity)

    def _note_limit(self, which: int, _limits: object = None) -> None:
        before = resource.getrlimit(which)
        self._note(("limit", which), lambda: lambda: self._set_limit(which, before))

    def _set_limit(self, which: int, limits: tuple[int, int]) -> None:
        try:
            resource.setrlimit(which, limits)
        except (OSError, ValueError):  # Only root may raise a hard limit.
            self.is_beyond_repair = True

    def _note_final(self, *args: object) -> None:
        if args == (0,):  # Called by `os.nice` for the current value, which was valid before.
            return
        self.is_beyond_repair = True
        self.made["final"] = lambda: None

    def _note_handler(self, number: int, _handler: object) -> None:
        def undo() -> Undo:
            before = signal.getsignal(number)
            return lambda: signal.signal(number, signal.SIG_DFL if before is None else before)

        self._note(("signal", int(number)), undo)

    def _note_locale(self, category: int, value: object = None) -> None:
        if value is not None:
            before = locale.setlocale(locale.LC_ALL)
            self._note("locale", lambda: lambda: locale.setlocale(locale.LC_ALL, before))

    def _note_logger(self, owner: logging.Logger, *_: object) -> None:
        def undo() -> Undo:
            state = _state_of(owner)
            return lambda: _restore_logger(owner, state)

        self._note(("logger", id(owner)), undo)

    def _note_thread(self, thread: threading.Thread) -> None:
        if self._is_importing():
            self._kept_threads.add(thread)

    def _undo_warnings(self) -> Undo:
        before = list(self._filters)
        return lambda: _set_filters(self._filters, before)

    # Undoing

    def undo(self) -> None:
        """The job has ended: undo its changes."""
        for _ in range(_ROUNDS):
            try:
                _stop_timers()
                self._undo_all()
                return
            except BaseException:  # A handler of the job, for a late signal.
                continue
        self.is_beyond_repair = True

    def _undo_all(self) -> None:
        self._stop_patches()
        if getattr(os, "environ", None) is not self._environment:
            setattr(os, "environ", self._environment)  # noqa: B010 (what it holds is undone below)
        if getattr(warnings, "filters", None) is not self._filters:
            warnings.filters = self._filters
            self._note("warnings", self._undo_warnings)
        # Signal handlers first: a late signal must find that of the worker.
        for key in sorted(self.made, key=lambda key: not isinstance(key, tuple) or key[0] != "signal"):
            try:
                self.made[key]()
            except Exception:
                self.is_beyond_repair = True
        self._put_objects_back()
        self.made.clear()
        self._lists.clear()

    def _stop_patches(self) -> None:
        """Undo replacements by `unittest.mock`; first, since the other steps may need the originals."""
        for patch in reversed(self._patches[self._patches_found :]):
            with contextlib.suppress(Exception):
                patch.stop()
        del self._patches[self._patches_found :]

    def leaves_threads(self) -> bool:
        """Whether the ended job keeps running in threads; waits briefly for ending threads.

        Idle threads of libraries, such as those of a pool, are harmless and may stay.
        """
        if _thread._count() == self.threads:
            return False
        for look in range(_LOOKS):
            if not self._is_at_work() and look >= _SURE:
                return False
            time.sleep(_LOOK)
        return True

    def _is_at_work(self) -> bool:
        known = {thread.ident: thread for thread in threading.enumerate()}
        for number, frame in sys._current_frames().items():
            thread = known.get(number)
            if thread is threading.main_thread() or thread in self._kept_threads:
                continue
            if isinstance(thread, threading.Timer) or _is_in_program(frame):
                return True
        return False


def _is_in_program(frame: types.FrameType | None) -> bool:
    """Whether code runs that belongs neither to Python nor to an installed library."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_PYTHON) and not any(part in name for part in _INSTALLED):
            return True
        frame = frame.f_back
    return False


def _undo_umask(umask: Callable[[int], int]) -> Undo:
    before = umask(0o077)
    umask(before)
    return functools.partial(umask, before)


def _undo_mask(mask: Callable[..., Any]) -> Undo:
    before = mask(signal.SIG_BLOCK, [])
    return lambda: mask(signal.SIG_SETMASK, before)


def _undo_affinity() -> Undo:
    before = os.sched_getaffinity(0)
    return lambda: os.sched_setaffinity(0, before)


def _undo_gc() -> Undo:
    return gc.enable if gc.isenabled() else gc.disable


def _undo_recursion() -> Undo:
    return functools.partial(sys.setrecursionlimit, sys.getrecursionlimit())


def _undo_tracing_of_threads() -> Undo:
    names = ("_trace_hook", "_profile_hook")
    before = {name: getattr(threading, name, None) for name in names}
    return lambda: vars(threading).update(before)


def _undo_switching() -> Undo:
    return functools.partial(sys.setswitchinterval, sys.getswitchinterval())


def _undo_threshold() -> Undo:
    return functools.partial(gc.set_threshold, *gc.get_threshold())


def _undo_digits() -> Undo:
    return functools.partial(sys.set_int_max_str_digits, sys.get_int_max_str_digits())


def _undo_timeout() -> Undo:
    return functools.partial(socket.setdefaulttimeout, socket.getdefaulttimeout())


def _undo_decimal(context: Any) -> Undo:
    names = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
    before = {name: getattr(context, name) for name in names}
    flags, traps = dict(context.flags), dict(context.traps)

    def undo() -> None:
        for name, value in before.items():
            setattr(context, name, value)
        context.flags.update(flags)
        context.traps.update(traps)

    return undo


def _undo_disable() -> Undo:
    return functools.partial(logging.disable, logging.root.manager.disable)


def _undo_capture() -> Undo:
    return functools.partial(logging.captureWarnings, warnings.showwarning is getattr(logging, "_showwarning", None))


def _stop_timers() -> None:
    for timer in _TIMERS:
        _setitimer(timer, 0)


def _set_variable(name: bytes, value: bytes | None) -> None:
    if value is None:
        os.environb.pop(name, None)
        os.unsetenv(name)  # It may have been set without `os.environ`.
    else:
        os.environb[name] = value
    if name == b"TZ":
        time.tzset()


def _set_filters(filters: list[Any], before: list[Any]) -> None:
    filters[:] = before
    # The only public way to invalidate the cache of filter decisions after a change.
    with warnings.catch_warnings():
        pass


def _state_of(owner: logging.Logger) -> _LoggerState:
    return list(owner.handlers), owner.level, owner.propagate, owner.disabled, list(owner.filters)


def _restore_logger(owner: logging.Logger, state: _LoggerState) -> None:
    handlers, level, owner.propagate, owner.disabled, filters = state
    for handler in list(owner.handlers):
        if handler not in handlers:
            owner.removeHandler(handler)
            with contextlib.suppress(Exception):  # Its stream may be closed.
                handler.close()
    for handler in handlers:
        owner.addHandler(handler)
    owner.handlers[:] = handlers
    owner.filters[:] = filters
    owner.setLevel(level)
