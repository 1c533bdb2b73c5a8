"""Which files in the directory of a job are returned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gdispy.worker.returned_files import ReturnedFiles


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "job").mkdir()
    monkeypatch.chdir(tmp_path / "job")
    Path("input").write_text("given")
    Path("changed").write_text("given")
    return tmp_path


def found(*patterns: str) -> tuple[list[str], list[str], list[str]]:
    returned = ReturnedFiles(patterns)
    Path("changed").write_text("changed by the job")
    Path("made").write_text("made")
    os.makedirs("below/deep")
    Path("below/deep/more").write_text("made")
    return returned.find()


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("made", ["made"]),
        ("input", ["input"]),
        ("*", ["below/deep/more", "changed", "made"]),
        ("in*", []),
        ("**/more", ["below/deep/more"]),
        ("below", ["below/deep/more"]),
        ("nothing", []),
        ("made/x", []),
    ],
)
def test_wildcards_mean_what_the_job_has_made(pattern: str, paths: list[str]) -> None:
    assert found(pattern) == (paths, [] if paths else [pattern], [])


def test_each_file_is_returned_once() -> None:
    assert found("made", "m*", "none") == (["made"], ["none"], [])


def test_link_to_a_file_of_the_job_is_returned_and_other_things_are_not() -> None:
    returned = ReturnedFiles(["*"])
    os.symlink("input", "link")
    os.symlink("nowhere", "broken")
    os.mkfifo("pipe")
    os.makedirs("folder")
    os.symlink("..", "folder/up")
    # Its contents are the input, which the job has not changed, but its name is new.
    assert returned.find() == (["link"], [], [])


def test_links_that_the_job_has_made_are_not_followed_outside(here: Path) -> None:
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "file").write_text("of the node")
    os.symlink(here / "elsewhere" / "file", "given")  # An input file that all jobs share.
    patterns = ["given", "link", "folder", "below/*", "folder/file"]
    returned = ReturnedFiles(patterns)
    os.symlink(here / "elsewhere" / "file", "link")
    os.symlink(here / "elsewhere", "folder")
    os.makedirs("below")
    os.symlink("../../elsewhere/file", "below/link")
    assert returned.find() == (["given"], [], ["link", "folder", "below/link", "folder/file"])
    os.unlink("given")
    os.symlink("/etc/passwd", "given")
    assert "given" in returned.find().outside
