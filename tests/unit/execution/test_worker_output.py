"""Output on disk that may be lost, as node and worker see it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.execution.worker_output import WorkerOutput
from gdispy.worker import control, shared_page
from gdispy.worker import output_capture as capture
from gdispy.worker.output_capture import MEMORY_LIMIT, Capture
from gdispy.worker.shared_page import FULL, Page


@pytest.fixture
def page() -> Iterator[Page]:
    fd = control.memory_file("page")
    os.ftruncate(fd, shared_page.SIZE)
    made = Page(fd)
    os.close(fd)
    yield made
    made.close()


@pytest.fixture
def output(tmp_path: Path) -> Iterator[WorkerOutput]:
    made = WorkerOutput(MEMORY_LIMIT + 1, str(tmp_path))
    yield made
    made.close()


def test_growth_of_output_on_disk_is_seen_once(output: WorkerOutput, tmp_path: Path) -> None:
    assert output.grown_to() == 0
    os.write(output.err, bytes(100_000))
    assert output.grown_to() >= 100_000 and output.grown_to() == 0
    in_memory = WorkerOutput(1000, str(tmp_path))
    os.write(in_memory.out, bytes(100_000))
    assert in_memory.grown_to() == 0
    in_memory.close()


@pytest.mark.parametrize(
    ("user", "total", "free", "reserved", "is_full"),
    [(1, 99, 15, 0, True), (1, 99, 15, 10, True), (0, 99, 15, 10, False), (1, 99, 16, 0, False), (1, 0, 0, 0, False)],
)
def test_a_full_disk_is_noted_for_the_worker(
    output: WorkerOutput,
    page: Page,
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    total: int,
    free: int,
    reserved: int,
    is_full: bool,
) -> None:
    about = SimpleNamespace(f_blocks=total, f_bavail=free, f_bfree=free + reserved, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda fd: about)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    output.look_for_room(page)
    assert page.words[FULL] == is_full


@pytest.mark.parametrize("limit", [1000, MEMORY_LIMIT + 1])
def test_a_job_fails_that_has_met_a_full_disk_and_the_next_does_not(
    tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(Capture, "_restore_streams", lambda self: None)
    output = WorkerOutput(limit, str(tmp_path))
    made: Any = Capture(output.out, output.err, limit, str(tmp_path), page.words)
    made.out = made.err = open(os.devnull, "w")
    os.write(output.out, b"text")
    page.words[FULL] = 1
    assert made.end()[0].shown == b"text"
    assert ("while the job was running" in made.flaw and str(tmp_path) in made.flaw) is (limit > MEMORY_LIMIT)
    made.end()
    assert made.flaw == ""
    made.out.close()
    output.close()


def test_the_file_is_unchanged_by_the_check_for_room(output: WorkerOutput) -> None:
    os.write(output.out, b"text")
    assert capture.no_room(output.out) == ""
    os.write(output.out, b" more")
    assert os.pread(output.out, 100, 0) == b"text more"
