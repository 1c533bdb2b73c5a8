"""The files that go to a worker with jobs, and come back with results."""

from __future__ import annotations

from typing import Any

from gdispy.execution.result_files import BLANKS, ResultFiles


class File:
    def __init__(self) -> None:
        self.returns = 0

    def returned(self) -> None:
        self.returns += 1


class Pool:
    """Gives blank files, and knows of what sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def blank(self, size: int) -> Any:
        self.sizes.append(size)
        return File()


def test_blank_goes_along_where_the_last_result_was_large() -> None:
    pool: Any = Pool()
    files = ResultFiles(pool)
    assert files.lend_blank((1, 1)) is None
    files.expect(200_000)
    assert files.lend_blank((1, 1)) is not None and pool.sizes == [200_000]


def test_worker_has_a_few_blanks_at_most_and_one_for_each_job() -> None:
    pool: Any = Pool()
    files = ResultFiles(pool)
    files.expect(200_000)
    first = files.lend_blank((0, 1))
    for job in range(1, BLANKS):
        assert files.lend_blank((job, 1)) is not None
    assert files.lend_blank((BLANKS, 1)) is None
    assert files.lend_blank((0, 1)) is first  # The message did not fit into the socket, and is made again.


def test_file_of_a_job_that_was_taken_back_is_given_back_once() -> None:
    files, lent = ResultFiles(Pool()), File()  # type: ignore[arg-type]
    files.lend((1, 1), lent)  # type: ignore[arg-type]
    files.give_back([(1, 1), (2, 1)])
    files.give_back([(1, 1)])
    assert lent.returns == 1 and files.take((1, 1)) is None


def test_file_of_a_job_that_has_ended_is_taken_with_its_result() -> None:
    files, lent = ResultFiles(Pool()), File()  # type: ignore[arg-type]
    files.lend((1, 1), lent)  # type: ignore[arg-type]
    assert files.take((1, 1)) is lent and files.take((1, 1)) is None and lent.returns == 0
