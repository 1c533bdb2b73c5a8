"""Lines of running jobs: pieces in order, gaps, lines that are not whole, and the rest at the end."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import pytest

from gdispy.buffers.memory_file import OpenFile
from gdispy.cli import live_lines as module
from gdispy.cli.job_outcome import JobLine, JobOutcome
from gdispy.cli.job_output import OutputIncomplete
from gdispy.cli.live_lines import LiveLines
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Printed
from tests.unit.builders import C


class Made:
    """Job 70 of the cluster is job 7 of the run; job 80 is job 8."""

    def __init__(self, capture: pytest.CaptureFixture[bytes], tags: bool = False) -> None:
        self._capture = capture
        self.wakes = 0
        self.live = LiveLines(tags, self._wake)
        self.lines = {number: JobLine(number, (f"arg{number}",), ()) for number in (7, 8)}
        for number, line in self.lines.items():
            self.live.begin(10 * number, line)

    def _wake(self) -> None:
        self.wakes += 1

    def arrive(self, offset: int, content: bytes, stream: int = 1, job: int = 70) -> None:
        unused: Any = None
        self.live.take(unused, Printed(C, JobId(job), 1, stream, offset, content))

    def shown(self) -> tuple[bytes, bytes]:
        self.live.print_arrived()
        found = self._capture.readouterr()
        return found.out, found.err

    def end(self, out: Any, err: bytes = b"", error: str = "") -> tuple[bytes, bytes]:
        self.live.forget(70)
        self.live.print(JobOutcome(self.lines[7], 1, "h", 0.0, 1.0, 0, 0, error, out, err), ())
        return self.shown()


@pytest.fixture
def made(capsysbinary: pytest.CaptureFixture[bytes]) -> Made:
    return Made(capsysbinary)


def test_whole_lines_are_printed_and_the_rest_at_the_end(made: Made) -> None:
    made.arrive(0, b"one\ntw")
    made.arrive(0, b"error\n", stream=2)
    assert made.shown() == (b"one\n", b"error\n") and made.wakes == 2 and not made.live.have_arrived
    made.arrive(6, b"o\nthree")
    assert made.shown() == (b"two\n", b"")
    assert made.end(b"one\ntwo\nthree", b"error\n") == (b"three\n", b"")


def test_stream_with_a_gap_waits_for_the_end_of_the_job(made: Made) -> None:
    made.arrive(0, b"one\ntw")
    made.arrive(20, b"much later\n")
    made.arrive(31, b"and later\n")
    assert made.shown() == (b"one\n", b"")
    whole = b"one\ntwo\nthree, lost\nmuch later\nand later\n"
    assert made.end(whole) == (whole[4:], b"")


def test_piece_that_arrives_again_is_printed_once(made: Made) -> None:
    made.arrive(0, b"one\ntw")
    made.arrive(0, b"one\ntwo\n")
    assert made.shown() == (b"one\ntwo\n", b"")


def test_lines_have_the_tags_of_their_jobs(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    made = Made(capsysbinary, tags=True)
    made.arrive(0, b"a\nb\n")
    made.arrive(0, b"c\nd", job=80)
    assert made.shown()[0] == b"arg7\ta\narg7\tb\narg8\tc\n"
    assert made.end(b"a\nb\nlast")[0] == b"arg7\tlast\n"


def test_pieces_of_a_job_that_was_printed_are_dropped(made: Made) -> None:
    made.arrive(0, b"one\n")
    made.arrive(0, b"other\n", job=80)
    assert made.end(b"one\n")[0] == b"one\nother\n"
    made.arrive(0, b"one\n")
    assert made.shown() == (b"", b"")


def test_failed_job_is_reported(made: Made) -> None:
    out, err = made.end(b"", error="exit code 3")
    assert out == b"" and err == b"gdispy: job 7 (arg7): exit code 3\n"


def test_output_that_is_incomplete_is_an_error_after_its_last_byte(made: Made) -> None:
    made.arrive(0, b"one\n")
    made.shown()
    with tempfile.TemporaryFile() as file:
        file.write(b"one\ntwo\n")
        file.flush()
        output = OpenFile(os.dup(file.fileno()), 8, "the disk is full")
    with pytest.raises(OutputIncomplete, match="the disk is full"):
        made.end(output)
    assert made.shown()[0] == b"two\n"


def test_memory_is_bounded(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_LIMIT", 10)
    monkeypatch.setattr(module, "WAITING_LIMIT", 30)
    made.arrive(0, b"x" * 20)
    made.arrive(20, b"\nsecond\n")
    made.arrive(28, b"too much\n")
    assert made.shown() == (b"", b"")
    assert made.end(b"x" * 20 + b"\nsecond\ntoo much\n")[0] == b"x" * 20 + b"\nsecond\ntoo much\n"


def test_all_jobs_are_followed_and_none_by_the_cluster(made: Made) -> None:
    assert made.live.wanted([JobId(1), JobId(2)]) == [1, 2] and not made.live.is_active
