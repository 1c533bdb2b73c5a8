"""The package as users install it: the archives, their metadata, and programs in fresh environments."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gdispy.config import VERSION
from tests.support.other_pythons import candidates, made

ROOT = Path(__file__).parents[2]
#: What is not part of the source, but may lie in a checkout.
NOT_SOURCE = shutil.ignore_patterns(".git", ".venv", "_build", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
COMMANDS = ("gdispy", "gdispy-node", "gdispy-scheduler")


class Archives(NamedTuple):
    source: Path
    wheel: Path


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return done  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    """Built in a copy: a build writes into the directory of the source. The wheel is built from the archive."""
    copy = tmp_path_factory.mktemp("source") / "gdispy"
    shutil.copytree(ROOT, copy, ignore=NOT_SOURCE)
    run(sys.executable, "-m", "build", "--no-isolation", copy)
    (source,), (wheel,) = (copy / "dist").glob("*.tar.gz"), (copy / "dist").glob("*.whl")
    return Archives(source, wheel)


@pytest.fixture(scope="module")
def unpacked(archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> Path:
    goal = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archives.source) as archive:
        archive.extractall(goal, filter="data")
    return goal / f"gdispy-{VERSION}"


def test_the_index_accepts_the_archives(archives: Archives) -> None:
    printed = run(sys.executable, "-m", "twine", "check", "--strict", *archives).stdout
    assert printed.count("PASSED") == 2, printed


def test_the_source_has_every_file_of_a_checkout(unpacked: Path) -> None:
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    copy = {each for each in files_of_the_checkout() if not each.startswith(".git")}
    assert copy - found == set()
    folders = {name.partition("/")[0] for name in found if "/" in name}
    assert folders >= {"benchmarks", "deploy", "docs", "examples", "gdispy", "scripts", "tests"}
    assert {"CHANGELOG.md", "SECURITY.md", "LICENSE", "Makefile", "tests/conftest.py", "deploy/Dockerfile"} <= found
    assert [name for name in found if "_build" in name or name.endswith(".pyc")] == []


def files_of_the_checkout() -> set[str]:
    """Those that git knows; in an unpacked archive, which has no git, those that are there."""
    try:
        listed = run("git", "ls-files", cwd=ROOT).stdout.splitlines()
    except (AssertionError, OSError):
        listed = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")]
    return {name for name in listed if (ROOT / name).exists()}


def test_the_wheel_has_the_package_and_nothing_else(archives: Archives) -> None:
    with zipfile.ZipFile(archives.wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"_gdispy_programs.py", "gdispy", f"gdispy-{VERSION}.dist-info"}
    assets = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gdispy/web/assets").rglob("*") if path.is_file()}
    assert assets <= set(names) and len(assets) >= 10
    assert "gdispy/py.typed" in names and f"gdispy-{VERSION}.dist-info/licenses/LICENSE" in names


def test_the_metadata_names_the_license_and_the_commands(archives: Archives) -> None:
    with zipfile.ZipFile(archives.wheel) as archive:
        about = archive.read(f"gdispy-{VERSION}.dist-info/METADATA").decode()
        entries = archive.read(f"gdispy-{VERSION}.dist-info/entry_points.txt").decode()
    assert "\nLicense-Expression: Apache-2.0\n" in about and "License ::" not in about
    assert re.findall(r"(?m)^([\w-]+) = _gdispy_programs:", entries) == list(COMMANDS)


@pytest.fixture(scope="module")
def install(archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Makes an environment of Python 3.x with the wheel and what it depends on; returns its directory of programs."""

    @functools.cache
    def make(minor: int) -> Path:
        bases = candidates(minor)
        if not bases:
            pytest.skip(f"no Python 3.{minor} was found")
        python, reason = made(bases[0], tmp_path_factory.mktemp(f"fresh3.{minor}"))
        if not python and not os.environ.get("CI"):  # For example without a network.
            pytest.skip(reason)
        assert python, reason
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", archives.wheel)
        return Path(python).parent

    return make


@pytest.mark.parametrize("minor", [10, 13])
def test_a_fresh_environment_runs_an_example(
    install: Callable[[int], Path], unpacked: Path, minor: int, tmp_path: Path
) -> None:
    programs = install(minor)
    # Nothing of this environment and of the checkout.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for name in COMMANDS:
        assert run(programs / name, "--version", cwd=tmp_path, env=clean).stdout == f"{name} {VERSION}\n"
    done = run(programs / "python", unpacked / "examples" / "executor.py", cwd=tmp_path, env=clean)
    assert done.stdout.startswith("[100003, 100019, 100043]\n") and "ValueError: math domain error" in done.stdout
    assert run(programs / "gdispy", "--local", "echo", ":::", "a", "b", cwd=tmp_path, env=clean).stdout == "a\nb\n"


@pytest.mark.parametrize("name", ["client", "node", "scheduler"])
def test_a_command_is_patched_before_the_package_is_loaded(name: str) -> None:
    code = (
        f"import sys; from _gdispy_programs import {name}; import gevent.monkey, socket;"
        "print(gevent.monkey.is_module_patched('socket'), gevent.monkey.is_module_patched('subprocess'),"
        "[each for each in sys.modules if each.partition('.')[0] == 'gdispy'])"
    )
    assert run(sys.executable, "-c", code).stdout == "True False []\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_files_in_scripts_are_the_same_commands(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert run(sys.executable, ROOT / "scripts" / name, "--version", env=environment).stdout == f"{name} {VERSION}\n"
    assert os.access(ROOT / "scripts" / name, os.X_OK)
