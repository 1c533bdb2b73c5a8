"""Starts greenlets, so that no exception is lost, and permanent tasks are restarted.

Callable in any loop: the task runs in a greenlet of that loop, or in the loop itself (`guarded`).

Invariants:
1. The exception of a task is logged, with its traceback and the purpose of the task. A greenlet that is killed ends
   silently.
2. A task given to `keep_running` ends only when it returns, when it is killed, and in a forked child.
3. No other module starts greenlets; `tests/test_architecture.py` checks that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import gevent

from gdispy.errors import ForkedError
from gdispy.runtime.limited_log import LimitedLog

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    Args = TypeVarTuple("Args")

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Seconds until a failed task is restarted: at first, and at most.
PAUSE_FIRST = 0.5
PAUSE_LIMIT = 30.0
#: Seconds between two log lines about failures of the same kind of a restarted task.
TELL_INTERVAL = 60.0

#: Exceptions that end a greenlet without a failure: it is killed, or the program ends.
_ENDS = (gevent.GreenletExit, KeyboardInterrupt, SystemExit)

_once = LimitedLog(logger)
_again = LimitedLog(logger, TELL_INTERVAL)
_pause = gevent.sleep
_now = time.monotonic


def spawn(
    work: Callable[[Unpack[Args]], object],
    *args: Unpack[Args],
    what: str,
    on_failure: Callable[[BaseException], None] | None = None,
) -> gevent.Greenlet:
    """Run a task once in a greenlet. `what` is its purpose, for the log; `on_failure` is called if it fails, and must
    release all waiters of its results."""
    return gevent.spawn(_run, work, args, what, on_failure)


def spawn_later(
    seconds: float, work: Callable[[Unpack[Args]], object], *args: Unpack[Args], what: str
) -> gevent.Greenlet:
    """The same, after a number of seconds."""
    return gevent.spawn_later(seconds, _run, work, args, what, None)


def keep_running(work: Callable[[Unpack[Args]], object], *args: Unpack[Args], what: str) -> gevent.Greenlet:
    """Run a task in a greenlet until it returns: if it fails, it is restarted after a growing pause."""
    return gevent.spawn(_run_again, work, args, what)


def guarded(
    work: Callable[[Unpack[Args]], T], what: str, on_failure: Callable[[BaseException], None] | None = None
) -> Callable[[Unpack[Args]], T | None]:
    """A callback for a timer or a watcher of the loop. Without this, gevent writes a failure to stderr, and a failed
    watcher is stopped for ever."""

    def call(*args: Unpack[Args]) -> T | None:
        return _run(work, args, what, on_failure)

    return call


def _run(
    work: Callable[[Unpack[Args]], T],
    args: tuple[Unpack[Args]],
    what: str,
    on_failure: Callable[[BaseException], None] | None,
) -> T | None:
    try:
        return work(*args)
    except _ENDS:
        raise
    except BaseException as error:  # An uncaught `gevent.Timeout` is not an Exception.
        _once.log_failure(logging.CRITICAL, _kind(work, error), error, "gdispy: a defect in %s", what)
        if on_failure is not None:
            _run(on_failure, (error,), what, None)
    return None


def _run_again(work: Callable[[Unpack[Args]], object], args: tuple[Unpack[Args]], what: str) -> None:
    pause = PAUSE_FIRST
    while True:
        began = _now()
        try:
            work(*args)
            return
        except _ENDS:
            raise
        except ForkedError:
            return
        except BaseException as error:
            text = "gdispy: a defect in %s, which is restarted"
            _again.log_failure(logging.CRITICAL, _kind(work, error), error, text, what)
        if _now() - began > PAUSE_LIMIT:
            pause = PAUSE_FIRST
        _pause(pause)
        pause = min(2 * pause, PAUSE_LIMIT)


def _kind(work: Callable[..., object], error: BaseException) -> object:
    return getattr(work, "__qualname__", repr(type(work))), type(error)
