"""Files in memory in which arguments come and results leave, at the worker."""

from __future__ import annotations

import mmap
import os
from typing import Any

import pytest

from gdispy.worker.frames import INLINE
from gdispy.worker.limits import Limits, OwnLimits
from gdispy.worker.payload_files import BorrowedFile, digest_of, map_files, written

SIZE = 4 * INLINE


@pytest.fixture
def limits() -> OwnLimits:
    return OwnLimits(Limits(), mmap.mmap(-1, mmap.PAGESIZE))


def memory_file(data: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, data)
    return fd


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_result_is_written_whole_and_from_the_beginning() -> None:
    parts = [b"one", memoryview(bytearray(b"two")), b""]
    fd = written(parts)
    assert os.pread(fd, 100, 0) == b"onetwo"
    os.close(fd)


def test_arguments_are_views_that_the_job_may_change_and_the_file_does_not() -> None:
    fd = memory_file(b"a" * SIZE)
    kept = os.dup(fd)
    fields: list[Any] = [1, 1, SIZE]
    assert map_files(fields, [fd]) is None and not is_open(fd)
    fields[2][:3] = b"xyz"
    assert fields[2][:4] == b"xyza" and os.pread(kept, 4, 0) == b"aaaa"
    os.close(kept)


@pytest.mark.parametrize(
    ("fields", "count", "borrowed", "mapped"),
    [
        ([1, 1, b"small"], 0, False, []),
        ([1, 1, SIZE], 1, False, [2]),
        ([1, 1, -SIZE], 1, True, [2]),
        ([1, 1, b"small", SIZE], 1, False, [3]),
        ([1, 1, SIZE, SIZE], 2, False, [2, 3]),
        ([1, 1, b"small", b"small"], 1, True, []),
    ],
)
def test_each_file_goes_to_what_has_its_size(fields: list[Any], count: int, borrowed: bool, mapped: list[int]) -> None:
    files = [memory_file(bytes([65 + number]) * SIZE) for number in range(count)]
    loan = map_files(fields, files)
    assert (loan is not None) is borrowed
    assert [place for place, each in enumerate(fields) if isinstance(each, mmap.mmap)] == mapped
    assert [bytes(fields[place][:1]) for place in mapped] == [b"A", b"B"][: len(mapped)]


def test_large_result_goes_back_in_the_file_that_was_lent(limits: OwnLimits) -> None:
    fd = memory_file(b"a" * SIZE)
    kept = os.dup(fd)
    loan = BorrowedFile(fd, SIZE)
    assert loan.give_back([b"r" * (INLINE + 1)], limits) == INLINE + 1
    assert os.pread(kept, INLINE + 2, 0) == b"r" * (INLINE + 1) + b"a" and not is_open(fd)
    os.close(kept)


@pytest.mark.parametrize("size", [0, INLINE, SIZE + 1])
def test_result_that_is_small_or_does_not_fit_is_not_put_into_it(limits: OwnLimits, size: int) -> None:
    fd = memory_file(b"a" * SIZE)
    kept = os.dup(fd)
    assert BorrowedFile(fd, SIZE).give_back(bytes(size), limits) == 0
    assert os.pread(kept, 1, 0) == b"a" and not is_open(fd)
    os.close(kept)


def test_file_that_an_object_of_the_job_still_sees_is_not_given_back(limits: OwnLimits) -> None:
    fd = memory_file(b"a" * SIZE)
    loan = BorrowedFile(fd, SIZE)
    assert loan.map is not None
    view = memoryview(loan.map)
    assert loan.give_back(b"r" * (INLINE + 1), limits) is None
    assert view[0] == ord("a") and not is_open(fd)


def test_number_that_is_now_that_of_a_file_of_the_job_is_left_alone(limits: OwnLimits) -> None:
    fd = memory_file(b"a" * SIZE)
    loan = BorrowedFile(fd, SIZE)
    other = memory_file(b"mine" * SIZE)
    os.dup2(other, fd)
    assert loan.give_back(b"r" * (INLINE + 1), limits) is None
    assert os.pread(fd, 4, 0) == b"mine"
    os.close(fd)
    assert BorrowedFile(other).give_back(b"", limits) == 0 and not is_open(other)


def test_digest_is_of_the_whole_file_wherever_it_was_read() -> None:
    from hashlib import blake2b

    data = os.urandom((1 << 20) + 5)
    fd = memory_file(data)
    os.lseek(fd, 10, os.SEEK_SET)
    assert digest_of(fd) == blake2b(data, digest_size=32).digest()
    os.close(fd)
