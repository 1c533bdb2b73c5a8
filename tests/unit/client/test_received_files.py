"""Where a job may write on the client's disk: below the working directory, through no link, and over nothing."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.client import received_files
from gdispy.client.received_files import Destination, ReceivedFiles, store
from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.messages import Upload
from gdispy.protocol.payload import MemoryPayload

#: Of Linux: paths are as they are; two names change their files in one step.
_HERE, _EXCHANGE = -100, 2
FIRST, SECOND = b"first", b"second one"


@pytest.fixture(autouse=True)
def received() -> Iterator[None]:
    received_files._received.clear()
    yield
    received_files._received.clear()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "home"


def row(path: str, data: bytes = FIRST, mode: int = 0o600) -> list[Any]:
    return [path, mode, 1e9, len(data), blake2b(data, digest_size=32).digest()]


def send(home: Path, path: str, data: bytes = FIRST, mode: int = 0o600, overwrite: bool = False) -> str:
    return store(str(home), row(path, data, mode), data, overwrite)


@pytest.mark.parametrize("mode, umask, expected", [(0o4777, 0o022, 0o700), (0o666, 0, 0o600), (0o750, 0o277, 0o500)])
def test_of_the_mode_only_the_owners_bits_are_used_and_the_umask_is_kept(
    home: Path, mode: int, umask: int, expected: int
) -> None:
    before = os.umask(umask)
    try:
        assert send(home, "file", mode=mode) == ""
    finally:
        os.umask(before)
    about = (home / "file").stat()
    assert about.st_mode & 0o7777 == expected and about.st_mtime == 1e9


@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o644), (0o700, 0o755), (0o400, 0o444), (0o4666, 0o644)])
def test_file_for_all_has_the_permissions_of_the_umask(home: Path, mode: int, expected: int) -> None:
    before = os.umask(0o022)
    try:
        assert store(str(home), row("file", FIRST, mode), FIRST, for_all=True) == ""
    finally:
        os.umask(before)
    assert (home / "file").stat().st_mode & 0o7777 == expected


def test_file_arrives_whole_with_its_folders_and_leaves_nothing_else(home: Path) -> None:
    data = os.urandom(3_000_000)
    assert store(str(home), row("a/b/c", data), MemoryPayload([data[:7], data[7:]])) == ""
    assert (home / "a/b/c").read_bytes() == data and os.listdir(home / "a/b") == ["c"]


def test_file_with_other_contents_than_announced_does_not_arrive(home: Path) -> None:
    for content in (b"worst", b"first "):
        assert store(str(home), row("file"), content) == "the file file changed while it was sent"
    assert "without a digest" in store(str(home), [*row("file")[:4], b""], FIRST)
    assert os.listdir(home) == []


@pytest.mark.parametrize("path", ["../file", "/etc/file", "a/../../file", "", "a//b", ".gdispy-x", "a\0b", "a\nb"])
def test_path_that_leads_elsewhere_is_refused(home: Path, path: str) -> None:
    assert send(home, path) != ""
    assert os.listdir(home) == [] and os.listdir(home.parent / "outside") == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_links_to_directories_are_not_followed(home: Path, overwrite: bool) -> None:
    outside = home.parent / "outside"
    (home / "link").symlink_to(outside)
    (home / "deep").mkdir()
    (home / "deep" / "link").symlink_to("..")
    for path in ("link/file", "link/new/file", "deep/link/file"):
        assert "would leave the client's directory" in send(home, path, overwrite=overwrite)
    assert os.listdir(outside) == [] and sorted(os.listdir(home)) == ["deep", "link"]


def test_link_in_the_place_of_the_file_is_not_followed(home: Path) -> None:
    goal = home.parent / "outside" / "goal"
    goal.write_bytes(b"mine")
    for name, target in (("link", goal), ("dangling", home.parent / "outside" / "none")):
        (home / name).symlink_to(target)
        assert "already exists at the client" in send(home, name)
        # Nor is it where the link's file holds the same already.
        assert "already exists at the client" in send(home, name, b"mine")
        # Where files may be replaced, the link itself is.
        assert send(home, name, overwrite=True) == ""
        assert not (home / name).is_symlink() and (home / name).read_bytes() == FIRST
    assert goal.read_bytes() == b"mine" and os.listdir(goal.parent) == ["goal"]


def test_folder_that_becomes_a_link_meanwhile_lets_nothing_out(home: Path) -> None:
    # Given somebody who puts a link in the place of a folder again and again.
    outside, paths = home.parent / "outside", [os.fsencode(home / name) for name in ("folder", "other")]
    (home / "folder").mkdir()
    (home / "other").symlink_to(outside)
    exchange = ctypes.CDLL(None).renameat2
    is_over = threading.Event()

    def swap() -> None:
        for _ in range(200_000):
            if is_over.is_set():
                return
            assert exchange(_HERE, paths[0], _HERE, paths[1], _EXCHANGE) == 0

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        results = {send(home, f"folder/{number}") for number in range(150)}
    finally:
        is_over.set()
        thread.join()
    assert os.listdir(outside) == []
    assert all(not each or "would leave the client's directory" in each for each in results), results


def test_nothing_that_is_there_is_replaced_unless_the_user_allows_it(home: Path) -> None:
    (home / "file").write_bytes(b"mine")
    os.mkfifo(home / "pipe")
    assert "create the cluster with overwrite=True" in send(home, "file")
    assert "already exists at the client" in send(home, "pipe")
    assert (home / "file").read_bytes() == b"mine"
    assert send(home, "file", overwrite=True) == "" and (home / "file").read_bytes() == FIRST
    assert sorted(os.listdir(home)) == ["file", "pipe"]


def test_what_has_come_before_is_replaced_until_somebody_changes_it(home: Path) -> None:
    assert send(home, "file") == send(home, "file", SECOND) == ""
    assert (home / "file").read_bytes() == SECOND
    (home / "file").write_bytes(b"mine now")
    assert "already exists at the client" in send(home, "file")
    (home / "file").unlink()
    assert send(home, "file") == ""
    # One of the same name elsewhere is another file.
    (home / "deep").mkdir()
    (home / "deep" / "file").write_bytes(b"mine")
    assert "already exists at the client" in send(home, "deep/file")


def test_equal_file_that_is_there_is_as_good(home: Path) -> None:
    (home / "file").write_bytes(FIRST)
    assert send(home, "file") == ""
    # It was not this program's, and is not now.
    assert "already exists at the client" in send(home, "file", SECOND)


def test_file_system_without_links_does_as_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(received_files.os, "link", link)
    assert send(home, "file") == "" and (home / "file").read_bytes() == FIRST
    (home / "mine").touch()
    assert "already exists at the client" in send(home, "mine")


def test_directory_in_the_way_is_told(home: Path) -> None:
    (home / "taken").mkdir()
    (home / "file").touch()
    assert "already exists at the client" in send(home, "taken")
    assert "cannot be written at the client: Is a directory" in send(home, "taken", overwrite=True)
    assert "a file is in the way" in send(home, "file/below")
    assert sorted(os.listdir(home)) == ["file", "taken"]


def test_job_hears_of_it_where_the_working_directory_is_gone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    home.rmdir()
    answers: list[tuple[Any, ...]] = []
    hub: Any = SimpleNamespace(post=lambda answer, *told: answers.append(told), prepare_callbacks=lambda: None)
    hub.call_back = hub.spawn = lambda function, *args: function(*args)
    ReceivedFiles(hub, lambda *told: None).take(Upload(ComputationId(b"c" * 8), JobId(1), 1, 0, [row("file")], [FIRST]))
    assert answers[0][:3] == (1, 1, 0) and "cannot be written at the client" in answers[0][3]


def test_destination_of_a_file_is_chosen_by_its_job(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    (home / "own").mkdir()
    (home / "own" / "file").write_text("before")
    answers: list[tuple[Any, ...]] = []
    hub: Any = SimpleNamespace(post=lambda answer, *told: answers.append(told), prepare_callbacks=lambda: None)
    hub.call_back = hub.spawn = lambda function, *args: function(*args)
    files = ReceivedFiles(hub, lambda *told: None)
    files.destination = lambda job, path: Destination("own", path == "file")
    for number, path in enumerate(("file", "file2", "../out")):
        files.take(Upload(ComputationId(b"c" * 8), JobId(1), 1, number, [row(path)], [FIRST]))
    assert [told[3] for told in answers[:2]] == ["", ""] and "../out" in answers[2][3]
    assert (home / "own" / "file").read_bytes() == FIRST and not (home / "out").exists()
