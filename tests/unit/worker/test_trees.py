"""Directory trees for single jobs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gdispy.execution.dependency_files import JobFiles
from gdispy.worker.trees import COPY_LIMIT, Link, changed, mirror, remove_tree


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_what_is_written_in_a_mirror_does_not_show_in_the_origin(tmp_path: Path) -> None:
    origin, goal = tmp_path / "origin", tmp_path / "goal"
    (origin / "deep" / "deeper").mkdir(parents=True)
    (origin / "__pycache__").mkdir()
    (origin / "__pycache__" / "a.pyc").touch()
    (origin / "a").write_text("a")
    (origin / "deep" / "b").write_text("b")
    (origin / "deep" / "deeper" / "c").write_text("c")
    (origin / "link").symlink_to("a")
    (origin / "program").write_text("p")
    os.chmod(origin / "a", 0o750)
    os.utime(origin / "a", (1, 2))
    (goal / "deep").mkdir(parents=True)
    (goal / "deep" / "b").write_text("own")
    assert mirror(str(origin), str(goal), "program") == []
    before = contents(origin)
    assert contents(goal) == {
        **{name: text for name, text in before.items() if not name.startswith("__pycache__")},
        "deep/b": "own",
    }
    about = (goal / "a").stat()
    assert (about.st_mode & 0o777, about.st_mtime) == (0o750, 2)
    assert os.readlink(goal / "link") == "a" and os.readlink(goal / "program") == str(origin / "program")
    for name in ("a", "deep/b", "deep/deeper/c"):
        (goal / name).write_text("changed")
    assert contents(origin) == before


def test_large_files_are_linked_and_changes_of_them_are_found(tmp_path: Path) -> None:
    origin, goal = tmp_path / "origin", tmp_path / "goal"
    origin.mkdir()
    goal.mkdir()
    with open(origin / "large", "wb") as file:
        file.truncate(COPY_LIMIT + 1)
    links = mirror(str(origin), str(goal))
    if not links:  # The file system shares blocks.
        return
    assert [link.path for link in links] == [str(origin / "large")] and (goal / "large").is_symlink()
    assert not (origin / "large").stat().st_mode & 0o222
    assert changed(links) == []
    (origin / "large").chmod(0o600)
    with open(origin / "large", "ab") as file:
        file.write(b"more")
    assert changed(links) == [str(origin / "large")]


def test_a_linked_file_that_was_replaced_is_not_one_that_was_changed(tmp_path: Path) -> None:
    assert changed([Link(str(tmp_path / "gone"), 1, 1)]) == []


def test_a_tree_goes_whatever_its_permissions(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "locked" / "inner").mkdir(parents=True)
    (root / "locked" / "inner" / "file").touch()
    (root / "away").symlink_to(tmp_path)
    for path in (root / "locked" / "inner", root / "locked", root):
        path.chmod(0)
    remove_tree(str(root))
    assert os.listdir(tmp_path) == []


def test_files_of_a_job_fit_where_nobody_has_others_of_their_names(tmp_path: Path) -> None:
    def row(path: str, digest: bytes) -> list[object]:
        return [path, 0o600, 1.0, 1, digest]

    (tmp_path / "left").touch()
    files = JobFiles(str(tmp_path), [row("kept", b"k" * 32)], lambda goal: False)
    assert files.fit([row("new", b"n" * 32), row("kept", b"k" * 32)])
    assert not files.fit([row("kept", b"o" * 32)])
    assert not files.fit([row("left", b"n" * 32)])
    assert not files.fit([row(f"{number:04}" + "x" * 100, b"n" * 32) for number in range(1000)])
    # What cannot be put in place anywhere is told when that is tried.
    assert files.fit([row("../outside", b"n" * 32)])
    assert "'../outside'" in files.place((1, 1), [row("../outside", b"n" * 32)], [b""])


def test_what_a_link_leads_to_keeps_its_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a tree that cannot be removed at once, with a link to a directory elsewhere, and one in place of a tree.
    goal, tree = tmp_path / "goal", tmp_path / "tree"
    goal.mkdir()
    goal.chmod(0o755)
    tree.mkdir()
    (tree / "link").symlink_to(goal)
    (tmp_path / "top").symlink_to(goal)
    monkeypatch.setattr("gdispy.worker.trees.shutil.rmtree", lambda path, ignore_errors: None)
    remove_tree(str(tree))
    remove_tree(str(tmp_path / "top"))
    assert goal.stat().st_mode & 0o777 == 0o755 and not os.path.lexists(tmp_path / "top")
