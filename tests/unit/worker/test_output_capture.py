"""What jobs print, as far as that needs no process of its own; `tests/integration/test_output.py` has the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gdispy.worker import output_capture as module
from gdispy.worker.output_capture import capture_file, keep_within_limit

MIB = 1 << 20


def size_of(fd: int) -> int:
    return os.fstat(fd).st_blocks * 512


@pytest.fixture
def file(tmp_path: Path) -> int:
    return capture_file(MIB, str(tmp_path))


def test_little_is_kept_in_memory_and_much_on_disk(tmp_path: Path) -> None:
    in_memory, on_disk = capture_file(module.MEMORY_LIMIT, str(tmp_path)), capture_file(1 << 40, str(tmp_path))
    try:
        assert os.fstat(in_memory).st_dev != os.stat(tmp_path).st_dev
        assert os.fstat(on_disk).st_dev == os.stat(tmp_path).st_dev and os.listdir(tmp_path) == []
    finally:
        os.close(in_memory)
        os.close(on_disk)


def test_disk_without_unnamed_files_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refusing(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError("not here")
        return real(path, flags, *rest)

    monkeypatch.setattr(module.os, "open", refusing)
    fd = capture_file(1 << 40, str(tmp_path))
    os.write(fd, b"a")
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"b")
    assert os.pread(fd, 5, 0) == b"ab" and os.listdir(tmp_path) == []
    os.close(fd)


def test_what_will_be_left_out_gives_its_memory_back_and_the_length_stays(file: int) -> None:
    os.write(file, b"x" * (8 * MIB))
    keep_within_limit(file, MIB)
    assert os.fstat(file).st_size == 8 * MIB
    assert size_of(file) <= 2 * MIB
    # Both parts that are kept are whole.
    assert os.pread(file, MIB // 2, 0) == b"x" * (MIB // 2)
    assert os.pread(file, MIB // 2, 8 * MIB - MIB // 2) == b"x" * (MIB // 2)
    os.close(file)


def test_what_is_kept_anyway_is_not_touched(file: int) -> None:
    os.write(file, b"x" * (2 * MIB))
    before = size_of(file)
    keep_within_limit(file, MIB)
    assert size_of(file) == before
    os.close(file)


def test_parts_are_copied_with_a_note_between_them(tmp_path: Path) -> None:
    source, goal = capture_file(MIB, str(tmp_path)), capture_file(MIB, str(tmp_path))
    os.write(source, b"begin" + b"." * 100 + b"end")
    module._copy(source, 0, 5, goal)
    module._copy(source, 105, 100, goal)  # No more than there is.
    assert os.pread(goal, 100, 0) == b"beginend"
    os.close(source)
    os.close(goal)
