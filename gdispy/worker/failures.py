"""What a job has raised, as its client gets it: text for people, and the exception itself where it can travel.

Called in a worker between jobs, and in a template for what `setup` has raised.
"""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType

from gdispy.protocol.limits import shortened
from gdispy.worker.result_encoding import encode_failure

_HERE = os.path.dirname(os.path.abspath(__file__))


class Unpicklable(Exception):
    """The job returned something that cannot travel."""


def users_frames(error: BaseException) -> TracebackType | None:
    """Where an error came about, without the frames of this package that lead there."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    return frames


def raised(error: BaseException, cancelled: bool) -> bytes:
    """The exception for the client, in the place of a result; nothing where it only tells that there is none."""
    if cancelled or isinstance(error, Unpicklable):
        return b""
    return encode_failure(error)


def describe(error: BaseException, cancelled: bool) -> str:
    """The traceback as the user would see it."""
    if isinstance(error, Unpicklable):
        return f"{error}\n"
    try:
        text = _told(error, cancelled)
    except Exception as failure:  # The job has replaced something that is needed for that, and left it so.
        text = f"{type(error).__name__}, and its traceback cannot be shown: {type(failure).__name__}\n"
    return text + ("The job was cancelled.\n" if cancelled else "")


def _told(error: BaseException, cancelled: bool) -> str:
    told = traceback.TracebackException(type(error), error, users_frames(error))
    if told.stack and told.stack[-1].filename.startswith(_HERE) and cancelled:
        told.stack.pop()  # The handler of the interrupt.
    return shortened("".join(told.format())) + missing_module(error)


def missing_module(error: BaseException) -> str:
    """Where a module would have to be installed that is missing, in a line for users; '' for any other error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    name = error.name.partition(".")[0]
    if name != error.name and name in sys.modules:
        return ""  # What is there has no such part.
    return (
        f"The Python of this node does not have the module {name}: install it there ({sys.executable} -m pip install "
        "...), or, if it is yours, list it in depends.\n"
    )
