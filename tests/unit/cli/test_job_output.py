"""Output of jobs that waits for its turn."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from gdispy.buffers.memory_file import OpenFile
from gdispy.cli.job_output import OutputSpool, SpooledOutput, parts, size_of
from gdispy.errors import GdispyError


def open_file(data: bytes, error: str = "") -> OpenFile:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return OpenFile(os.dup(file.fileno()), len(data), error)


def test_small_output_stays_in_memory_and_the_rest_is_stored_in_a_file() -> None:
    spool = OutputSpool(memory_limit=6)
    kept = [spool.keep(data) for data in (b"first", b"second", b"x", b"third")]
    assert [type(each) for each in kept] == [bytes, SpooledOutput, bytes, SpooledOutput]
    assert [b"".join(parts(each)) for each in kept] == [b"first", b"second", b"x", b"third"]
    assert [size_of(each) for each in kept] == [5, 6, 1, 5]
    spool.clear()
    assert spool.keep(b"again") == b"again"
    assert b"".join(parts(spool.keep(b"other"))) == b"other"
    spool.close()


def test_open_files_are_copied_and_released_unless_they_are_incomplete() -> None:
    spool = OutputSpool()
    whole, cut = open_file(b"whole"), open_file(b"cut", "the disk is full")
    kept = spool.keep(whole)
    assert whole.fd < 0 and b"".join(parts(kept)) == b"whole"
    assert spool.keep(cut) is cut
    with pytest.raises(GdispyError, match="incomplete: the disk is full"):
        b"".join(parts(cut))
    cut.release()
    spool.close()


def test_output_that_cannot_be_stored_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(GdispyError, match=r"cannot be stored in .*missing"):
        OutputSpool(memory_limit=0).keep(b"x")
