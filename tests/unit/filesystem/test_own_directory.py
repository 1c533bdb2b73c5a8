"""Directories of gdispy's own: what others have there stays, and where others can write they are refused."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from gdispy.errors import ConfigError
from gdispy.execution.state_directory import claim, clean, find_prefix
from gdispy.filesystem import own_directory as module
from gdispy.filesystem.own_directory import BELOW, MARKER, is_own, own_directory, private_directory, shared_with

NAME = "a" * 32


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdispy.execution.state_directory.end_marked", lambda variable, name: None)


def found(path: Path) -> str:
    return own_directory(str(path), "--dest_path_prefix")


def test_directory_that_is_new_or_empty_is_marked_and_used(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o755)
    for path in (tmp_path / "empty", tmp_path / "new" / "deeper"):
        assert found(path) == str(path) == found(path)
        assert os.listdir(path) == [MARKER] and is_own(str(path))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_directory_that_a_former_version_has_used_is_taken_over(tmp_path: Path) -> None:
    for name in (NAME, "kept", "spool", "scheduler-51347"):
        (tmp_path / name).mkdir()
    (tmp_path / f"{NAME}.lock").touch()
    assert found(tmp_path) == str(tmp_path) and is_own(str(tmp_path))


def test_nothing_that_others_have_is_touched(tmp_path: Path) -> None:
    # Given a directory of a project, with locks and names like those of nodes.
    for name in ("poetry", "Cargo", NAME, "kept", "spool"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.lock").touch()
    (tmp_path / "b.txt").touch()
    before = sorted(os.listdir(tmp_path))
    # When a node starts there, and another, and all is cleaned, then they have a directory below it.
    prefix = find_prefix(str(tmp_path))
    assert prefix == str(tmp_path / BELOW) == find_prefix(str(tmp_path))
    os.close(claim(prefix, "c" * 32))
    os.close(claim(prefix, "d" * 32))
    clean(prefix)
    assert sorted(os.listdir(tmp_path)) == sorted([*before, BELOW])


@pytest.mark.parametrize("names", [("kept",), ("spool",), ("kept", "spool")])
def test_directories_of_a_user_that_are_called_as_gdispys_are_left_alone(tmp_path: Path, names: tuple[str]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").touch()
    assert found(tmp_path) == str(tmp_path / BELOW) and not is_own(str(tmp_path))
    assert all((tmp_path / name / "mine").exists() for name in names)


def test_what_is_put_into_a_directory_of_its_own_later_stays(tmp_path: Path) -> None:
    prefix = find_prefix(str(tmp_path))
    (tmp_path / "poetry.lock").touch()
    (tmp_path / "poetry").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{NAME}.lock").symlink_to(tmp_path / "poetry.lock")
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    os.close(claim(prefix, "c" * 32))
    clean(prefix)
    assert {"poetry.lock", "poetry", "elsewhere", f"{NAME}.lock"} <= set(os.listdir(tmp_path))


@pytest.mark.parametrize("clear", [lambda prefix: claim(prefix, NAME), clean])
def test_directory_without_a_mark_is_never_cleared(tmp_path: Path, clear: object) -> None:
    (tmp_path / "poetry").mkdir()
    (tmp_path / "poetry.lock").touch()
    with pytest.raises(ConfigError, match="was not created by gdispy"):
        clear(str(tmp_path))  # type: ignore[operator]
    assert sorted(os.listdir(tmp_path)) == ["poetry", "poetry.lock"]


def test_directory_below_that_is_not_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / BELOW).mkdir()
    (tmp_path / BELOW / "thesis.txt").touch()
    with pytest.raises(ConfigError, match=r"'thesis.txt': choose another --dest_path_prefix"):
        found(tmp_path)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
@pytest.mark.parametrize("use", [own_directory, private_directory])
def test_directory_that_others_can_write_to_is_refused(tmp_path: Path, mode: int, use: object) -> None:
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"can write to {path}.*chmod go-w {path}"):
        use(str(path), "--dest_path_prefix")  # type: ignore[operator]
    # Also, where it is one on the way.
    with pytest.raises(ConfigError, match=f"can write to {path}, on the way to .*chmod go-w {path}"):
        use(str(path / "a" / "b"), "--dest_path_prefix")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("uid", "name", "members", "accepted"),
    [
        *((1000, "ann", [], True), (1000, "ann", ["ann"], True), (1000, "ann", ["ann", "bob"], False)),
        *((1000, "users", [], False), (0, "ann", [], False)),
    ],
)
def test_group_of_the_user_alone_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, name: str, members: list[str], accepted: bool
) -> None:
    about = os.stat(tmp_path)
    user = SimpleNamespace(pw_uid=uid, pw_gid=about.st_gid, pw_name="ann")
    group = SimpleNamespace(gr_name=name, gr_mem=members)
    monkeypatch.setattr(module.pwd, "getpwuid", lambda uid: user)
    monkeypatch.setattr(module.grp, "getgrgid", lambda gid: group)
    tmp_path.chmod(0o775)
    assert shared_with(os.stat(tmp_path)) == ("" if accepted else "a group")
    tmp_path.chmod(0o777)
    assert shared_with(os.stat(tmp_path)) == "all users"


def test_directory_for_all_with_sticky_bit_has_one_of_its_own_below_it(tmp_path: Path) -> None:
    path = tmp_path / "scratch"
    path.mkdir()
    path.chmod(0o1777)
    assert found(path) == str(path / BELOW)
    assert os.listdir(path) == [BELOW] and (path / BELOW).stat().st_mode & 0o777 == 0o700
    assert found(path / "own") == str(path / "own")
    with pytest.raises(ConfigError, match=f"all users can write to {path}: run"):
        private_directory(str(path), "--journal")


def test_one_that_another_user_has_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "theirs"
    path.mkdir()
    owner = os.stat(path).st_uid
    monkeypatch.setattr(module.os, "geteuid", lambda: owner + 4711)
    with pytest.raises(ConfigError, match="belongs to another user: choose another --dest_path_prefix"):
        found(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_link_or_directory_of_another_user_on_the_way_is_refused(tmp_path: Path) -> None:
    scratch, goal = tmp_path / "scratch", tmp_path / "goal"
    scratch.mkdir()
    goal.mkdir()
    scratch.chmod(0o1777)
    (scratch / "link").symlink_to(goal)
    assert found(scratch / "link") == str(goal)
    os.lchown(scratch / "link", 4711, 4711)
    (scratch / "theirs").mkdir()
    os.chown(scratch / "theirs", 4711, 4711)
    (scratch / BELOW).mkdir()
    os.chown(scratch / BELOW, 4711, 4711)
    for path in (scratch / "link", scratch / "link" / "x", scratch / "theirs" / "x", scratch):
        with pytest.raises(ConfigError, match="belongs to another user"):
            found(path)


def test_links_in_a_circle_and_files_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "file").touch()
    for name in ("one", "one/x", "file", "file/x", "a\0b"):
        with pytest.raises(ConfigError):
            found(tmp_path / name)
