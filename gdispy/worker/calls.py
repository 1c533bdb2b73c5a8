"""How the jobs of a function computation run: one call, or a chunk of them; and how what goes wrong is told.

Floor 1. Called by `runner.py` within a worker.
"""

from __future__ import annotations

import math
import os
import time
import traceback
import types
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gdispy.worker import chunks, pickling

if TYPE_CHECKING:
    from gdispy.worker.runner import Job

_HERE = os.path.dirname(os.path.abspath(__file__))

#: Statuses a worker can report; the numbers are those of `DispyJob`.
TERMINATED = 9
FINISHED = 11

#: What came of one job: status, result, and what went wrong.
Outcome = tuple[int, pickling.Payload, str]
#: Runs one job: the arguments' payload and the environment of the job in, the outcome out.
Run = Callable[[Any, "Job"], Outcome]


class _Unpicklable(Exception):
    """The job returned something that cannot travel."""


def call_function(function: Callable[..., Any]) -> Run:
    """How the jobs of a function computation run."""

    is_method = isinstance(function, types.MethodType)

    def call(arguments: Any) -> pickling.Payload:
        args, kwargs = pickling.loads(arguments)
        if is_method and args and _names_instance(function, args, kwargs):
            value = function.__func__(*args, **kwargs)  # type: ignore[attr-defined]
        else:
            value = function(*args, **kwargs)
        return b"" if value is None else _result(value)

    def run(arguments: Any, job: Job) -> Outcome:
        if arguments[0] == chunks.MARK:
            return FINISHED, _work_off(call, arguments, job), ""
        return FINISHED, call(arguments), ""

    return run


def _names_instance(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the first argument is the instance that a method is to be called with, as dispy has it."""
    owner = method.__self__
    if isinstance(owner, type) or type(args[0]) is not type(owner):
        return False
    import inspect  # It takes 5 ms, and few need it.

    try:
        inspect.signature(method.__func__).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True


def _work_off(call: Callable[[Any], pickling.Payload], arguments: Any, job: Job) -> bytes:
    """Run the calls of a chunk, one after the other."""
    seconds, calls = chunks.unpack_calls(arguments)
    until = time.perf_counter() + (seconds or math.inf)
    results: list[pickling.Payload] = []
    failures: list[tuple[int, str]] = []
    for place, each in enumerate(calls):
        result: pickling.Payload = b""
        try:
            result = call(each)
        except BaseException as error:
            job.leave_if_child(error)
            if job.cancelled:
                raise
            failures.append((place, describe(error, job)))
        job.leave_if_child()
        results.append(result)
        job.go_home()
        if job.cancelled:  # The call has caught the interrupt, which was for all of them.
            raise KeyboardInterrupt
        if time.perf_counter() > until:
            break
    return chunks.pack_results(results, failures)


def _result(value: object) -> pickling.Payload:
    try:
        return pickling.dumps_result(value)
    except Exception as error:
        kind = type(value).__name__
        reason = f"{type(error).__name__}: {error}"
        raise _Unpicklable(f"The result, a {kind}, cannot be pickled: {reason}") from error


def users_frames(error: BaseException) -> TracebackType | None:
    """Where an error came about, without the frames of this package that lead there."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    return frames


def describe(error: BaseException, job: Job) -> str:
    """The traceback as the user would see it."""
    if isinstance(error, _Unpicklable):
        return f"{error}\n"
    told = traceback.TracebackException(type(error), error, users_frames(error))
    if told.stack and told.stack[-1].filename.startswith(_HERE) and job.cancelled:
        told.stack.pop()  # The handler of the interrupt.
    return "".join(told.format()) + ("The job was cancelled.\n" if job.cancelled else "")
