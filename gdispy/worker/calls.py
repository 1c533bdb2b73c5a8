"""Runs the jobs of a function computation: one call, or a batch of them.

Runs in a worker.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from contextvars import copy_context
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gdispy.worker import batch, pickling
from gdispy.worker.failures import Unpicklable, describe, raised
from gdispy.worker.frames import FINISHED
from gdispy.worker.function_calls import FunctionCalls, InitializerFailed
from gdispy.worker.paths_to import unpicklable
from gdispy.worker.plain import NotPlain
from gdispy.worker.result_encoding import encode_result

if TYPE_CHECKING:
    from gdispy.worker.runner import Job

#: The outcome of one job: status, result, and error.
Outcome = tuple[int, pickling.Payload, str]
#: Runs one job: takes the payload of the arguments and the job's environment, returns the outcome.
Run = Callable[[pickling.ReceivedPayload, "Job"], Outcome]


def call_function(function: Callable[..., object]) -> Run:
    """How the jobs of a function computation run."""

    method = function if isinstance(function, types.MethodType) else None
    # An executor tells what a call raises from what its process could not even begin.
    loads = _loads_or_refuses if isinstance(function, FunctionCalls) else pickling.loads

    def call(arguments: pickling.ReceivedPayload) -> pickling.Payload:
        args, kwargs = loads(arguments)
        if method is not None and args and _names_instance(method, args, kwargs):
            value = method.__func__(*args, **kwargs)
        else:
            value = function(*args, **kwargs)
        return b"" if value is None else _result(value)

    def run(arguments: pickling.ReceivedPayload, job: Job) -> Outcome:
        if arguments[0] == batch.MARK:
            return FINISHED, _work_off(call, arguments, job), ""
        return FINISHED, call(arguments), ""

    return run


def _loads_or_refuses(arguments: pickling.ReceivedPayload) -> Any:
    try:
        return pickling.loads(arguments)
    except InitializerFailed:
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise Unpicklable(f"The arguments cannot be unpickled on the node: {reason}") from None


def _names_instance(method: types.MethodType, args: tuple[object, ...], kwargs: dict[str, object]) -> bool:
    """Whether the first argument is the instance for a method, as in dispy."""
    owner = method.__self__
    if isinstance(owner, type) or type(args[0]) is not type(owner):
        return False
    import inspect  # Imported on demand, since it is slow to load and rarely needed.

    try:
        inspect.signature(method.__func__).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True


def _work_off(
    call: Callable[[pickling.ReceivedPayload], pickling.Payload], arguments: pickling.ReceivedPayload, job: Job
) -> bytes:
    """Run the calls of a batch, one after the other."""
    seconds, calls = batch.unpack_calls(arguments)
    until = perf_counter() + (seconds or math.inf)
    results: list[pickling.Payload] = []
    failures: list[tuple[int, str]] = []
    for place, each in enumerate(calls):
        result: pickling.Payload = b""
        try:
            result = copy_context().run(call, each)
        except BaseException as error:
            job.leave_if_child(error)
            if job.cancelled:
                raise
            failures.append((place, describe(error, job.cancelled)))
            result = raised(error, job.cancelled)
        job.leave_if_child()
        results.append(result)
        now = perf_counter()
        is_fit = job.go_home(now)
        if job.cancelled:  # The call has caught the interrupt, which was meant for all calls.
            raise KeyboardInterrupt
        if not is_fit or now > until:
            break
    return batch.pack_results(results, failures)


def _result(value: object) -> pickling.Payload:
    try:
        return encode_result(value)
    except NotPlain as error:
        raise Unpicklable(f"The result cannot be sent, because the cluster accepts only plain data: {error}") from error
    except Exception as error:
        kind = type(value).__name__
        reason = f"{type(error).__name__}: {error}"
        where = unpicklable(value, None, "result")
        where = f" ({where})" if where else ""
        raise Unpicklable(f"The result, a {kind}, cannot be pickled: {reason}{where}") from error
