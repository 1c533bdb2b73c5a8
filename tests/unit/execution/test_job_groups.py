"""Groups of short jobs that a worker may have read. With a real page: `tests/integration/test_group_worlds.py`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgpack

from gdispy.execution.job_groups import JobGroups
from gdispy.protocol.ids import JobId
from gdispy.worker import shared_page

JOBS = [(JobId(number), 1) for number in range(1, 5)]


class Made:
    """Two groups of two jobs, and the words of the page."""

    def __init__(self) -> None:
        self.words = [0] * 5
        page: Any = SimpleNamespace(words=self.words)
        self.groups = JobGroups(page)
        for jobs in (JOBS[:2], JOBS[2:]):
            self.groups.add(self.groups.number(len(jobs)), jobs)


def rows(*jobs: tuple[JobId, int]) -> list[Any]:
    return [(*job, 11) for job in jobs]


def test_jobs_have_serial_numbers_one_after_the_other() -> None:
    made = Made()
    assert made.groups.number(16) == 5 and made.groups.number(1) == 21


def test_jobs_that_ended_in_their_order_leave_nothing() -> None:
    made = Made()
    made.groups.answered(rows(*JOBS[:3]))
    assert made.groups
    made.groups.answered(rows(JOBS[3]))
    assert not made.groups


def test_dead_worker_gives_up_what_it_had_not_begun() -> None:
    made = Made()
    made.words[shared_page.BEGUN] = 1
    assert made.groups.take_rest() == JOBS[1:]
    made.groups.answered(rows(JOBS[0]))
    assert not made.groups


def test_living_worker_gives_up_no_more_than_it_was_told_of() -> None:
    made = Made()
    made.words[shared_page.BEGUN] = 1
    last = made.groups.void()
    assert made.words[shared_page.VOID] == last == 4
    late = [(JobId(9), 1)]
    made.groups.add(made.groups.number(1), late)
    assert made.groups.take_rest(last) == JOBS[1:]


def test_group_that_was_not_read_is_forgotten_whole() -> None:
    made = Made()
    made.groups.forget({3})
    assert made.groups.take_rest() == JOBS[:2]


def test_worker_that_gives_back_a_part_names_its_first() -> None:
    made = Made()
    assert made.groups.take_from(4) == [JOBS[3]]
    assert made.groups.take_from(4) == []
    made.groups.answered(rows(*JOBS[:3]))
    assert not made.groups


def test_each_outcome_is_taken_once_from_the_page_or_as_it_was_sent() -> None:
    made = Made()
    data = b"".join(map(msgpack.packb, ([0, 1], [0, 2], [0, 3])))
    first = b"".join(map(msgpack.packb, ([0, 1], [0, 2])))
    assert made.groups.kept(7, first) == [[0, 1], [0, 2]]
    assert made.groups.kept(7, first) == []
    assert made.groups.sent_together(7, data) == [[0, 3]]
    assert made.groups.kept(7, data) == []
    assert made.groups.sent_together(8, first) == [[0, 1], [0, 2]]
