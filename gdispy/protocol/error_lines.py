"""The line of the text of a failed job that describes the error. Pure."""

from __future__ import annotations

from gdispy.protocol.texts import JOB_CANCELLED

#: The last line of the text of a job that was cancelled while it ran.
CANCELLED = f"{JOB_CANCELLED}."
#: Maximum length of a line in characters.
ERROR_LIMIT = 500


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
