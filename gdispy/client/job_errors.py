"""The texts of failed jobs: their tracebacks, and exceptions made from them."""

from __future__ import annotations

import linecache
import os
import re

from gdispy.errors import RemoteError

#: A frame of a traceback: its indentation, file and line.
_FRAME = re.compile(r'([ |]*  )File "(.+)", line (\d+), in ')


def with_source_lines(text: str) -> str:
    """A traceback, with the source of lines that the node does not have: those of functions typed into a notebook or an
    interactive Python."""
    lines = text.splitlines(keepends=True)
    found: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        found.append(line)
        frame = _FRAME.match(line)
        # The indentation is that of the frame: exceptions of a group are indented further.
        if frame and not following.startswith(f"{frame[1]}  "):
            source = _typed_line(frame[2], int(frame[3]))
            found.append(f"{frame[1]}  {source}\n" if source else "")
    return "".join(found)


def _typed_line(file: str, number: int) -> str:
    return "" if os.path.exists(file) else linecache.getline(file, number).strip()


def stand_in(line: str) -> BaseException:
    """A stand-in, with the same name and text, for an exception that cannot be unpickled here."""
    name, _, message = line.partition(": ")
    name = name.rpartition(".")[2]
    if not name.isidentifier():
        name, message = "RemoteError", line
    kind: type[RemoteError] = type(name, (RemoteError,), {"__module__": "gdispy"})
    return kind(message)
