"""What is read of the output of a running job."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gdispy.execution.followed_job import PIECE, PIECES, FollowedJob, Piece
from gdispy.protocol.ids import JobId
from gdispy.worker import control
from gdispy.worker.output_capture import keep_within_limit
from gdispy.worker.shared_page import LIVE, PRINTING, SIZE, Page


class Made:
    """A worker's page and files, and a followed job."""

    def __init__(self, limit: int = 1 << 20) -> None:
        page = control.memory_file("page")
        os.ftruncate(page, SIZE)
        self.page = Page(page)
        os.close(page)
        self.out, self.err = control.memory_file("out"), control.memory_file("err")
        self.job = FollowedJob(JobId(7), 1, self.page, limit)

    def prints(self, job: int = 7) -> None:
        self.page.words[PRINTING] = job

    def read(self) -> list[Piece]:
        return self.job.read(self.out, self.err)

    def close(self) -> None:
        control.close_all([self.out, self.err])
        self.page.close()


@pytest.fixture
def made() -> Iterator[Made]:
    made = Made()
    yield made
    made.close()


def test_worker_is_told_and_asked_again_ever_more_rarely_to_print_at_once(made: Made) -> None:
    assert made.page.words[LIVE] == 1 and not made.job.is_shown()
    asked = [number for number in range(300) if made.job.wants_signal()]
    assert asked == [0, 2, 6, 14, 30, 62, 126, 190, 254]
    made.prints()
    assert made.job.is_shown()


def test_pieces_of_both_streams_are_read_once_with_their_places(made: Made) -> None:
    made.prints()
    os.write(made.out, b"one\ntwo")
    os.write(made.err, b"err")
    assert made.read() == [Piece(1, 0, b"one\ntwo"), Piece(2, 0, b"err")]
    assert made.read() == []
    os.write(made.out, b" and more")
    assert made.read() == [Piece(1, 7, b" and more")]


def test_what_other_jobs_print_is_not_read(made: Made) -> None:
    os.write(made.out, b"of another")
    made.prints(8)
    assert made.read() == []
    made.prints()
    assert made.read() == [Piece(1, 0, b"of another")]  # The worker empties the file before it says so.


def test_much_output_is_read_in_several_calls(made: Made) -> None:
    made.prints()
    os.write(made.out, b"x" * (PIECE * PIECES + 5))
    assert [len(each.content) for each in made.read()] == [PIECE] * PIECES
    assert made.read() == [Piece(1, PIECE * PIECES, b"x" * 5)]


def test_what_was_freed_of_very_much_output_is_left_out() -> None:
    made = Made(limit=1000)
    try:
        made.prints()
        os.write(made.out, b"a" * 600)
        assert made.read() == [Piece(1, 0, b"a" * 600)]
        os.write(made.out, b"b" * 9_000 + b"c" * 500)
        keep_within_limit(made.out, 1000)
        assert made.read() == [Piece(1, 9_600, b"c" * 500)]
    finally:
        made.close()
