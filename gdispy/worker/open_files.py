"""Pickling of open files and streams: standard streams and closed files only.

Standard library. The names of the functions that unpickling calls stand inside payloads.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import sys
from typing import Any

#: Types that refer to a file of the operating system, or contain one.
FILES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)
#: Files that exist at the other end, too.
_STANDARD = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")


class OpenFile(pickle.PicklingError):
    """An open file cannot be pickled."""


def reduce_file(file: Any) -> tuple[Any, ...]:
    """The reduction of a standard stream, or of a closed file. Raises OpenFile for any other."""
    for name in _STANDARD:
        stream = getattr(sys, name, None)
        for layers in ((), ("buffer",), ("buffer", "raw")):
            try:
                found = functools.reduce(getattr, layers, stream)
            except (AttributeError, ValueError):  # It is another kind of stream, or detached.
                break
            if found is file:
                return _standard_stream, (name, *layers)
    try:
        is_closed = file.closed
    except ValueError:  # It is detached from what it was open for.
        is_closed = True
    if is_closed:
        return _closed_file, (isinstance(file, io.TextIOWrapper),)
    name = getattr(file, "name", type(file).__name__)
    shown = f"descriptor {name}" if isinstance(name, int) else str(name)
    mode = getattr(file, "mode", "")
    raise OpenFile(f"an open file ({shown}, mode {mode!r}) cannot be sent: open it in the function")


def _standard_stream(name: str, *layers: str) -> Any:
    """For unpickling: the stream of this process."""
    return functools.reduce(getattr, layers, getattr(sys, name))


def _closed_file(is_text: bool) -> Any:
    """For unpickling: a closed file."""
    with open(os.devnull, "r" if is_text else "rb") as file:
        return file
