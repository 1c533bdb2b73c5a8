"""What is shown while jobs are waited for: a bar of tqdm, one of our own, or lines."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gdispy.client import progress_bar
from gdispy.client.progress_bar import Counts, Lines, OwnBar, line_of, wait_with_bar


class Clock:
    """Time as a test wants it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress_bar, "time", found)
    return found


@pytest.fixture
def without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)


def three_steps(waited: list[float]) -> tuple[Any, Any]:
    """Jobs of which one ends in each step, and the first of those fails; one more comes meanwhile."""
    ended, total = 2, 4

    def wait(seconds: float) -> bool:
        nonlocal ended, total
        waited.append(seconds)
        ended, total = ended + 1, 5
        return ended == total

    return wait, lambda: Counts(ended, int(ended > 2), total)


def test_bar_of_tqdm_follows_jobs_that_come_meanwhile_and_counts_failures(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    waited: list[float] = []
    assert wait_with_bar(*three_steps(waited), None)
    assert len(waited) == 3 and all(0 < seconds <= 1 for seconds in waited)
    shown = capsys.readouterr().err
    assert "2/4" in shown and "5/5" in shown and "job" in shown and "1 failed" in shown


@pytest.mark.parametrize("missing", [False, True], ids=["tqdm", "own"])
def test_bar_ends_when_time_is_up(missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert not wait_with_bar(lambda seconds: False, lambda: Counts(0, 0, 1), 0.0)
    assert wait_with_bar(lambda seconds: True, lambda: Counts(0, 0, 0), 0.0)


@pytest.mark.usefixtures("without_tqdm")
def test_without_tqdm_and_terminal_a_short_wait_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert wait_with_bar(*three_steps([]), None)
    assert capsys.readouterr().err == ""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Any]]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with open(theirs, "w", closefd=True) as stream:
        yield ours, stream
    os.close(ours)


@pytest.mark.usefixtures("without_tqdm")
def test_without_tqdm_a_terminal_shows_a_bar_of_our_own(
    terminal: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, stream = terminal
    monkeypatch.setattr(sys, "stderr", stream)
    assert wait_with_bar(*three_steps([]), None)
    shown = b""
    while not shown.endswith(b"\r\n"):  # A terminal gives it in any number of pieces.
        shown += os.read(ours, 65536)
    lines = [line for line in shown.decode().split("\r\x1b[K") if line.strip()]
    assert lines[0].startswith("[##################............] 3/5 jobs, 1 failed, 0:00")
    assert lines[-1].startswith("[##############################] 5/5 jobs, 1 failed, 0:00")


def test_own_bar_makes_room_for_output_and_is_drawn_again(clock: Clock) -> None:
    stream = io.StringIO()
    stream.fileno = lambda: -1  # type: ignore[method-assign]
    bar = OwnBar(stream, stays=False)
    clock.now += 60
    bar.show(Counts(1, 0, 4))
    bar.show(Counts(1, 0, 4))
    bar.clear()
    stream.write("output of a job\n")
    bar.show(Counts(2, 0, 4))
    bar.close()
    one, two = "[#######.......................] 1/4 jobs, 1:00, about 3:00 left", "2/4 jobs, 1:00, about 1:00 left"
    begin = "\r\x1b[K"
    assert stream.getvalue() == f"{begin}{one}{begin}output of a job\n{begin}[{'#' * 15}{'.' * 15}] {two}{begin}"


def test_bar_that_does_not_fit_is_left_out_of_the_line(terminal: tuple[int, Any]) -> None:
    ours, stream = terminal
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    OwnBar(stream, stays=False).show(Counts(10, 3, 1000))
    assert os.read(ours, 65536).decode() == "\r\x1b[K10/1000 jobs, 3 fai"


def test_lines_come_at_growing_intervals_and_the_last_one_at_the_end(clock: Clock) -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    told: list[float] = []
    for second in range(1, 1000):
        clock.now = 1000.0 + second
        before = stream.tell()
        lines.show(Counts(second, second // 100, 1000))
        if stream.tell() > before:
            told.append(second)
    lines.show(Counts(1000, 10, 1000))
    lines.close()
    assert told == [10, 30, 70, 150, 310, 630]
    assert stream.getvalue().splitlines()[0] == "gdispy: 10/1000 jobs, 0:10, about 16:30 left"
    assert stream.getvalue().splitlines()[-1] == "gdispy: 1000/1000 jobs, 10 failed, 16:39"


@pytest.mark.parametrize(
    ("counts", "seconds", "text"),
    [
        (Counts(0, 0, 5), 1.0, "0/5 jobs, 0:01"),
        (Counts(5, 5, 5), 3725.0, "5/5 jobs, 5 failed, 1:02:05"),
        (Counts(0, 0, 0), 0.0, "0/0 jobs, 0:00"),
        (Counts(100, 1_234, 200), 10.0, "100/200 jobs, 1,234 failed, 0:10, about 0:10 left"),
    ],
)
def test_line_says_how_far_it_is(counts: Counts, seconds: float, text: str) -> None:
    assert line_of(counts, seconds) == text


class Broken(io.StringIO):
    """A terminal that goes away, as when the window of a program is closed."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("with_tqdm", [True, False], ids=["tqdm", "own"])
@pytest.mark.parametrize("make", [lambda: None, closed, Broken], ids=["none", "closed", "broken"])
def test_wait_goes_on_where_nothing_can_be_shown(
    make: Callable[[], Any], with_tqdm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_tqdm:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(sys, "stderr", make())
    waited: list[float] = []
    assert wait_with_bar(*three_steps(waited), None)
    assert len(waited) == 3


@pytest.mark.usefixtures("without_tqdm")
def test_wait_goes_on_when_the_stream_is_closed_meanwhile(
    terminal: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal[1])
    waited: list[float] = []
    wait, counts = three_steps(waited)

    def wait_and_close(seconds: float) -> bool:
        if waited:
            terminal[1].close()
        return bool(wait(seconds))

    assert wait_with_bar(wait_and_close, counts, None)
    assert len(waited) == 3
