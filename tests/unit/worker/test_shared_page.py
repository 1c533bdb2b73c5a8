"""The memory that a worker and its node share. With two processes: `tests/integration/test_group_worlds.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gdispy.worker import control
from gdispy.worker.shared_page import BEGUN, FILLED, GENERATION, RUNNING, SIZE, Page, runs


@pytest.fixture
def pages() -> Iterator[tuple[Page, Page]]:
    """The views of the worker and of the node."""
    fd = control.memory_file("test")
    os.ftruncate(fd, SIZE)
    made = Page(fd), Page(fd)
    os.close(fd)
    yield made
    for page in made:
        page.close()


def test_words_that_one_side_writes_are_read_by_the_other(pages: tuple[Page, Page]) -> None:
    worker, node = pages
    worker.words[BEGUN] = 1 << 40
    assert node.words[BEGUN] == 1 << 40 and len(node.words) == 10


def test_outcomes_are_kept_one_after_the_other_and_read_up_to_a_mark(pages: tuple[Page, Page]) -> None:
    worker, node = pages
    assert worker.keep(b"one") and node.mark() == (0, 3)
    mark = node.mark()
    assert worker.keep(b"two")
    assert node.kept(*mark) == b"one" and node.kept(*node.mark()) == b"onetwo"


def test_outcomes_that_have_been_sent_meanwhile_are_not_taken_again(pages: tuple[Page, Page]) -> None:
    worker, node = pages
    worker.keep(b"one")
    mark = node.mark()
    worker.sent()
    assert node.kept(*mark) == b"" and node.mark() == (1, 0)
    worker.keep(b"new")
    assert node.kept(*node.mark()) == b"new"


def test_outcome_that_does_not_fit_is_not_kept_in_part(pages: tuple[Page, Page]) -> None:
    worker, node = pages
    room = len(worker.outbox)
    assert worker.keep(bytes(room - 1)) and not worker.keep(b"ab")
    assert node.mark() == (0, room - 1)
    assert worker.keep(b"x") and not worker.keep(b"y")


def test_worker_that_dies_while_it_sends_leaves_no_outcome_of_a_new_generation(pages: tuple[Page, Page]) -> None:
    worker, node = pages
    worker.keep(b"one")
    steps: list[tuple[int, int]] = []

    class Words:
        def __setitem__(self, place: int, value: int) -> None:
            node.words[place] = value
            steps.append(node.mark())

        def __getitem__(self, place: int) -> int:
            return node.words[place]

    real, worker.words = worker.words, Words()  # type: ignore[assignment]
    worker.sent()
    worker.words = real
    assert steps == [(0, 0), (1, 0)]


def test_size_beyond_the_page_which_a_job_may_have_written_is_limited(pages: tuple[Page, Page]) -> None:
    worker, node = pages
    worker.words[FILLED] = 1 << 60
    assert node.mark() == (0, len(node.outbox))


def test_mark_that_never_settles_is_empty(pages: tuple[Page, Page]) -> None:
    _, node = pages

    class Words:
        def __init__(self) -> None:
            self.number = 0

        def __getitem__(self, place: int) -> int:
            self.number += place == GENERATION
            return self.number

    real, node.words = node.words, Words()  # type: ignore[assignment]
    assert node.mark()[1] == 0
    node.words = real


def test_template_sees_whether_a_job_runs(pages: tuple[Page, Page]) -> None:
    worker, node = pages
    assert not runs(node.map)
    for value in (1, 1 << 56):
        worker.words[RUNNING] = value
        assert runs(node.map)
    worker.words[RUNNING] = 0
    assert not runs(node.map)
