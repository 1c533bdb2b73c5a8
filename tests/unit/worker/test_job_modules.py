"""Modules that a job brings or creates are there for it alone."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.worker.job_modules import JobModules, MadeModules, _module_names, module_files

Write = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("modules_below")


def changes() -> Any:
    return SimpleNamespace(is_brought=lambda file: False)


def load(name: str) -> Any:
    importlib.invalidate_caches()
    return importlib.import_module(name)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("own.py", {"own"}),
        ("own.pyc", {"own"}),
        ("own.cpython-311-x86_64-linux-gnu.so", {"own"}),
        ("pack/part.py", {"pack.part", "part"}),
        ("pack/__init__.py", {"pack"}),
        ("a/b/__init__.py", {"a.b", "b"}),
        ("data.csv", set()),
        ("README", set()),
    ],
)
def test_file_is_importable_by_its_names_from_any_of_its_directories(path: str, names: set[str]) -> None:
    assert _module_names([path]) == names


def test_module_of_a_job_replaces_that_of_the_computation_and_is_removed_with_it(tmp_path: Path, write: Write) -> None:
    write("jobmod.py", "value = 'computation'")
    before = load("jobmod")
    write("jobmod.py", "value = 'a job'")
    watched = changes()
    original = watched.is_brought
    with JobModules(str(tmp_path), ["jobmod.py"], watched, False):
        assert "jobmod" not in sys.modules and sys.dont_write_bytecode
        assert load("jobmod").value == "a job"
        assert watched.is_brought(str(tmp_path / "jobmod.py")) and not watched.is_brought(str(tmp_path / "other.py"))
    assert sys.modules["jobmod"] is before and watched.is_brought is original


def test_part_of_a_package_is_taken_from_it_and_given_to_it_again(tmp_path: Path, write: Write) -> None:
    write("jobpack/__init__.py")
    write("jobpack/part.py", "value = 1")
    part, package = load("jobpack.part"), load("jobpack")
    with JobModules(str(tmp_path), ["jobpack/part.py"], changes(), False):
        assert not hasattr(package, "part") and sys.modules["jobpack"] is package
    assert package.part is part and sys.modules["jobpack.part"] is part


def test_modules_of_python_are_never_in_the_way(tmp_path: Path) -> None:
    with JobModules(str(tmp_path), ["json.py", "json/decoder.py"], changes(), False):
        assert "json" in sys.modules and "json.decoder" in sys.modules


def test_job_with_data_only_changes_nothing(tmp_path: Path) -> None:
    watched = changes()
    before, original = sys.dont_write_bytecode, watched.is_brought
    with JobModules(str(tmp_path), ["data.csv"], watched, False):
        assert sys.dont_write_bytecode is before and watched.is_brought is original


def test_modules_are_restored_after_an_error_too(tmp_path: Path, write: Write) -> None:
    write("jobmod.py")
    before, writes = load("jobmod"), sys.dont_write_bytecode
    with pytest.raises(ValueError, match="wrong"), JobModules(str(tmp_path), ["jobmod.py"], changes(), False):
        raise ValueError("wrong")
    assert sys.modules["jobmod"] is before and sys.dont_write_bytecode is writes


def test_job_with_a_private_directory_leaves_no_module_from_there(tmp_path: Path, write: Write) -> None:
    with JobModules(str(tmp_path), [], changes(), True):
        write("made.py")
        write("space/inner.py")
        load("made")
        load("space.inner")
    assert not {"made", "space", "space.inner"} & set(sys.modules)


def test_module_that_a_job_has_written_is_forgotten_and_one_that_came_is_kept(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Compiled files are what the next module of this name must not find, and they are off in some surroundings.
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    write("came.py")
    made = MadeModules([str(tmp_path)], frozenset({"came.py"}), changes())
    made.begin()
    write("written.py", "value = 1")
    load("came")
    cached = load("written").__cached__
    assert os.path.exists(cached)
    made.forget()
    assert "written" not in sys.modules and "came" in sys.modules and not os.path.exists(cached)
    write("written.py", "value = 2")
    assert load("written").value == 2


def test_module_from_elsewhere_is_kept(tmp_path: Path, write: Write) -> None:
    (tmp_path / "job").mkdir()
    made = MadeModules([str(tmp_path / "job"), ""], frozenset(), changes())
    made.begin()
    write("elsewhere.py")
    load("elsewhere")
    made.forget()
    assert "elsewhere" in sys.modules and made.number == len(sys.modules)


def test_files_of_modules_are_found_without_compiled_ones(tmp_path: Path, write: Write) -> None:
    for path in ("a.py", "sub/b.so", "c.zip", "data.csv", "__pycache__/a.pyc", "d.pyc"):
        write(path)
    assert module_files(str(tmp_path)) == {"a.py", "sub/b.so", "c.zip", "d.pyc"}
