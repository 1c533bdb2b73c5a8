"""The texts of failed jobs: their line that describes the error, and exceptions made from them."""

from __future__ import annotations

import linecache
import os
import re

from gdispy.errors import RemoteError

#: The last line of the text of a job that was cancelled while it ran.
CANCELLED = "The job was cancelled."
#: A frame of a traceback: its indentation, file and line.
_FRAME = re.compile(r'([ |]*  )File "(.+)", line (\d+), in ')
#: Maximum length of `DispyJob.error` in characters.
ERROR_LIMIT = 500


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


def error_line(text: str) -> str:
    """The line of a text that describes the error: in a traceback, the line of the exception."""
    line = _telling_line([line for line in text.splitlines() if line.strip()])
    return line if len(line) <= ERROR_LIMIT else line[: ERROR_LIMIT - 3] + "..."


def _telling_line(lines: list[str]) -> str:
    if not lines:
        return ""
    if lines[-1] == CANCELLED:
        return CANCELLED
    if lines[0].lstrip().startswith("+ Exception Group"):  # Its traceback is indented by bars.
        lines = [line[4:] for line in lines if line.startswith("  | ")]
    frames = [place for place, line in enumerate(lines) if line.startswith('  File "')]
    if not frames:
        return lines[0].strip() if not lines[0].startswith("Traceback") else lines[-1].strip()
    after = (line for line in lines[frames[-1] + 1 :] if not line.startswith(" "))
    return next(after, lines[-1]).strip()


def stand_in(line: str) -> BaseException:
    """A stand-in, with the same name and text, for an exception that cannot be unpickled here."""
    name, _, message = line.partition(": ")
    name = name.rpartition(".")[2]
    if not name.isidentifier():
        name, message = "RemoteError", line
    kind: type[RemoteError] = type(name, (RemoteError,), {"__module__": "gdispy"})
    return kind(message)
