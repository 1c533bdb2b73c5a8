"""Memory files go round, and never while somebody else may look into them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdispy.buffers.memory_file_pool import (
    FROM,
    KEPT_BYTES,
    KEPT_FILES,
    STEP,
    UP_TO,
    MemoryFilePool,
    PooledFile,
    PooledFileSink,
    PooledMemoryFile,
)
from gdispy.protocol.payload import joined


@pytest.fixture
def pool() -> Iterator[MemoryFilePool]:
    made = MemoryFilePool()
    yield made
    made.clear()


def filled(pool: MemoryFilePool, data: bytes, piece: int = 65530) -> PooledMemoryFile:
    """A payload that has arrived in pieces."""
    sink = pool.sink(len(data))
    assert isinstance(sink, PooledFileSink)
    for begin in range(0, len(data), piece):
        sink.write(memoryview(data)[begin : begin + piece])
    return sink.finish()


def test_what_was_written_is_read_at_each_use(pool: MemoryFilePool) -> None:
    fds = set()
    for size in (FROM, FROM + 1, STEP, FROM + 7):
        data = os.urandom(size)
        payload = filled(pool, data)
        assert payload.size == size
        assert joined(payload) == data
        assert bytes(payload.read(size - 3, 1000)) == data[-3:]
        assert bytes(payload.read(size, 1000)) == b""
        fds.add(payload.fd)
        payload.release()
    assert len(fds) == 1


def test_payload_that_nobody_has_any_more_gives_its_file_back(pool: MemoryFilePool) -> None:
    fd = filled(pool, bytes(FROM)).fd
    assert filled(pool, bytes(FROM)).fd == fd


def test_lent_file_is_not_used_again_until_it_has_been_returned(pool: MemoryFilePool) -> None:
    payload = filled(pool, bytes(FROM))
    fd = payload.lend()
    payload.release()
    with pytest.raises(OSError):
        os.fstat(fd)
    payload = filled(pool, bytes(FROM))
    fd = payload.lend()
    payload.returned()
    payload.release()
    assert filled(pool, bytes(FROM)).fd == fd


def test_result_takes_the_place_of_the_arguments(pool: MemoryFilePool) -> None:
    arguments = filled(pool, os.urandom(FROM))
    fd = arguments.lend()
    result = os.urandom(FROM // 2)
    os.pwrite(fd, result, 0)
    payload = arguments.successor(len(result))
    assert joined(payload) == result
    arguments.release()
    with pytest.raises(OSError):
        arguments.read(0, 1)
    with pytest.raises(ValueError):
        arguments.successor(1)
    payload.release()
    assert filled(pool, bytes(FROM)).fd == fd
    with pytest.raises(OSError):
        payload.read(0, 1)


def test_result_larger_than_its_file_is_none(pool: MemoryFilePool) -> None:
    with pytest.raises(ValueError):
        filled(pool, bytes(FROM)).successor(STEP + 1)


def test_file_cannot_be_made_shorter(pool: MemoryFilePool) -> None:
    payload = filled(pool, bytes(FROM))
    for size in (0, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(payload.fd, size)


def test_stream_that_breaks_off_gives_its_file_back(pool: MemoryFilePool) -> None:
    sink = pool.sink(FROM)
    sink.write(memoryview(b"some"))
    sink.abandon()
    data = os.urandom(FROM)
    assert joined(filled(pool, data)) == data


def test_only_payloads_of_a_middle_size_are_taken(pool: MemoryFilePool) -> None:
    for size in (FROM - 1, UP_TO + 1, 1 << 62):
        sink = pool.sink(size)
        assert not isinstance(sink, PooledFileSink)
        sink.abandon()


def test_much_smaller_payload_does_not_take_a_large_file(pool: MemoryFilePool) -> None:
    large = filled(pool, bytes(UP_TO))
    fd = large.fd
    large.release()
    assert filled(pool, bytes(FROM)).fd != fd
    assert filled(pool, bytes(UP_TO - STEP)).fd == fd


def test_files_of_another_size_make_room(pool: MemoryFilePool) -> None:
    for payload in [filled(pool, bytes(FROM)) for _ in range(KEPT_FILES + 3)]:
        payload.release()
    assert len(pool._free) == KEPT_FILES
    fd = filled(pool, bytes(UP_TO)).fd
    assert filled(pool, bytes(UP_TO)).fd == fd
    assert len(pool._free) == KEPT_FILES


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(FROM, UP_TO), max_size=100))
def test_only_so_many_files_and_bytes_are_kept(sizes: list[int]) -> None:
    pool = MemoryFilePool()
    for size in sizes:
        pool.give(PooledFile(size))
        kept = pool._free
        assert len(kept) <= KEPT_FILES
        assert sum(file.size for file in kept) <= KEPT_BYTES
    pool.clear()
    assert not pool._free
