"""Exceptions of jobs for the client: a text, and the exception itself if it can be pickled.

Used in a worker between jobs, and in a template for exceptions of `setup`.
"""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType

from gdispy.protocol.limits import shortened
from gdispy.protocol.texts import JOB_CANCELLED
from gdispy.worker.result_encoding import encode_failure

_HERE = os.path.dirname(os.path.abspath(__file__))


class Unpicklable(Exception):
    """The result of a job cannot be pickled; `__cause__` is the reason. Or its arguments cannot be unpickled."""


def users_frames(error: BaseException) -> TracebackType | None:
    """The traceback of an error, without the leading frames of this package."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    return frames


def raised(error: BaseException, cancelled: bool) -> bytes:
    """The exception for the client, instead of a result: of a result that cannot be pickled, that of pickling. Empty if
    it only tells that there is no result."""
    if isinstance(error, Unpicklable):
        return b"" if error.__cause__ is None else encode_failure(error.__cause__)
    return b"" if cancelled else encode_failure(error)


def describe(error: BaseException, cancelled: bool) -> str:
    """The traceback as text for the user."""
    if isinstance(error, Unpicklable):
        return f"{error}\n"
    try:
        text = _told(error, cancelled)
    except Exception as failure:  # The job has replaced a function that is needed, and left it so.
        text = f"{type(error).__name__}, and its traceback cannot be shown: {type(failure).__name__}\n"
    return text + (f"{JOB_CANCELLED}.\n" if cancelled else "")


def _told(error: BaseException, cancelled: bool) -> str:
    told = traceback.TracebackException(type(error), error, users_frames(error))
    if told.stack and told.stack[-1].filename.startswith(_HERE) and cancelled:
        told.stack.pop()  # The handler of the interrupt.
    return shortened("".join(told.format())) + missing_module(error)


def missing_module(error: BaseException) -> str:
    """A line for users that names the Python for which a missing module must be installed; '' for any other error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    name = error.name.partition(".")[0]
    if name != error.name and name in sys.modules:
        return ""  # The module exists, but does not have this submodule.
    return (
        f"The Python of this node does not have the module {name}: install it there ({sys.executable} -m pip install "
        "...), or, if it is yours, list it in depends.\n"
    )
