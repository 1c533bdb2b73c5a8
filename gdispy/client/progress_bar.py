"""The progress of jobs, shown while a program waits for them.

On a terminal it is a bar: that of tqdm if it is installed, which also works in notebooks, else a built-in one.
Elsewhere a line is printed from time to time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TextIO

#: Seconds between two updates.
LOOK_INTERVAL = 0.1
#: Without a terminal: seconds until the first line, the factor by which the pauses grow, and the longest pause.
FIRST_LINE = 10.0
PAUSE_GROWTH = 2.0
LONGEST_PAUSE = 600.0
#: Width of the bar in characters, without the text beside it.
BAR_WIDTH = 30


class Counts(NamedTuple):
    """The number of jobs that have ended, of those that have failed, and of all jobs."""

    ended: int
    failed: int
    total: int


class Bar(Protocol):
    """A display of the progress."""

    def show(self, counts: Counts) -> None:
        """Show these numbers."""

    def clear(self) -> None:
        """Clear the line for other output; the next `show` draws it again."""

    def close(self) -> None:
        """Show nothing more."""


def bar_for(counts: Counts, stays: bool) -> Bar:
    """A display for standard error; `stays` tells whether it remains visible at the end. If standard error is missing
    (`pythonw`, a service) or closed, now or later, nothing is shown."""
    stream = sys.stderr
    if stream is None or getattr(stream, "closed", False):
        return NoBar()
    try:
        tqdm = importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return AsLongAsItWorks(OwnBar(stream, stays) if stream.isatty() else Lines(stream))
    try:
        return AsLongAsItWorks(TqdmBar(tqdm(total=counts.total, initial=counts.ended, unit="job", leave=stays)))
    except (OSError, ValueError):
        return NoBar()


def wait_with_bar(wait: Callable[[float], bool], counts: Callable[[], Counts], timeout: float | None) -> bool:
    """Wait as `wait` does, in short steps, and show the progress."""
    until = None if timeout is None else time.monotonic() + timeout
    bar = bar_for(counts(), stays=True)
    try:
        while True:
            left = LOOK_INTERVAL if until is None else min(LOOK_INTERVAL, until - time.monotonic())
            is_over = wait(left)
            bar.show(counts())
            if is_over or left <= 0:
                return is_over
    finally:
        bar.close()


def line_of(counts: Counts, seconds: float) -> str:
    """The numbers as text, after `seconds`."""
    failed = f", {counts.failed:,} failed" if counts.failed else ""
    left = (counts.total - counts.ended) * seconds / counts.ended if counts.ended else 0.0
    rest = f", about {_duration(left)} left" if 0 < counts.ended < counts.total else ""
    return f"{counts.ended}/{counts.total} jobs{failed}, {_duration(seconds)}{rest}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


class NoBar:
    """Shows nothing."""

    def show(self, counts: Counts) -> None:
        """Nothing."""

    def clear(self) -> None:
        """Nothing to clear."""

    def close(self) -> None:
        """Nothing to close."""


class AsLongAsItWorks:
    """A bar whose stream may be closed, or lose its reader, during the wait, which then continues without it."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def show(self, counts: Counts) -> None:
        with self._while_it_works():
            self._bar.show(counts)

    def clear(self) -> None:
        with self._while_it_works():
            self._bar.clear()

    def close(self) -> None:
        with self._while_it_works():
            self._bar.close()

    @contextlib.contextmanager
    def _while_it_works(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: the stream is closed.
            self._bar = NoBar()


class TqdmBar:
    """The bar of tqdm."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def show(self, counts: Counts) -> None:
        bar = self._bar
        bar.total = counts.total
        if counts.failed:
            bar.set_postfix_str(f"{counts.failed:,} failed", refresh=False)
        bar.update(counts.ended - bar.n)
        if counts.ended == counts.total:
            bar.refresh()

    def clear(self) -> None:
        self._bar.clear()

    def close(self) -> None:
        self._bar.close()


class OwnBar:
    """A bar in the last line of a terminal."""

    def __init__(self, stream: TextIO, stays: bool) -> None:
        self._stream = stream
        self._stays = stays
        self._began = time.monotonic()
        self._shown = ""

    def show(self, counts: Counts) -> None:
        text = line_of(counts, time.monotonic() - self._began)
        done = BAR_WIDTH * counts.ended // counts.total if counts.total else 0
        line = f"[{'#' * done}{'.' * (BAR_WIDTH - done)}] {text}"
        width = self._width()
        self._draw(line if len(line) < width else text[: width - 1])

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80

    def _draw(self, line: str) -> None:
        if line != self._shown:
            self._shown = line
            self._stream.write(f"\r\x1b[K{line}")  # Carriage return, and erase the line.
            self._stream.flush()

    def clear(self) -> None:
        self._draw("")

    def close(self) -> None:
        if self._stays and self._shown:
            self._stream.write("\n")
            self._stream.flush()
        else:
            self.clear()


class Lines:
    """A line from time to time, and at the end if there was one before."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._pause = FIRST_LINE
        self._next = self._began + FIRST_LINE
        self._last: Counts | None = None
        self._shown: Counts | None = None

    def show(self, counts: Counts) -> None:
        self._last = counts
        now = time.monotonic()
        if now >= self._next:
            self._pause = min(PAUSE_GROWTH * self._pause, LONGEST_PAUSE)
            self._next = now + self._pause
            self._print(counts)

    def _print(self, counts: Counts) -> None:
        self._shown = counts
        print(f"gdispy: {line_of(counts, time.monotonic() - self._began)}", file=self._stream, flush=True)

    def clear(self) -> None:
        """Nothing to clear."""

    def close(self) -> None:
        if self._shown is not None and self._last is not None and self._last != self._shown:
            self._print(self._last)
