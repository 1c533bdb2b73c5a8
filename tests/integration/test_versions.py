"""Nodes of another version of Python than the client's: what a program defines goes along as source text.

`tests/support/other_pythons.py` finds the interpreters.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.across_versions import EXPECTED
from tests.support.daemons import Daemon, run_python

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "support" / "dispy_programs" / "versions.py"
ACROSS = PROGRAM.parent / "across_versions" / "program.py"
#: Topics of that program which do not run as mere arguments.
WITH_COMPUTATION = ("inner imports", "executed")
OURS = sys.version_info[1]


def node_under(python: str, secret_file: str, directory: Path) -> Daemon:
    words = ["--cpus", "1", "--dest_path_prefix", str(directory / "prefix"), "--secret-file", secret_file]
    script, env = str(ROOT / "scripts" / "gdispy-node"), {"PYTHONPATH": str(ROOT)}
    return Daemon(directory, *words, script=script, python=python, env=env)


@pytest.fixture(params=[minor for minor in range(10, 15) if minor != OURS], ids=lambda minor: f"3.{minor}")
def other(
    request: pytest.FixtureRequest, python_of: Callable[[int], str], secret_file: str, tmp_path: Path
) -> Iterator[tuple[str, Daemon]]:
    """A version, and a node that runs under it."""
    node = node_under(python_of(request.param), secret_file, tmp_path)
    yield f"3.{request.param}", node
    node.stop()


class Nodes:
    """A node for each version, started where it is asked for first."""

    def __init__(self, python_of: Callable[[int], str], directory: Path) -> None:
        self._python_of = python_of
        self._directory = directory
        self.secret_file = directory / "secret"
        self.secret_file.write_text("for all versions of Python, and for these tests only")
        self.secret_file.chmod(0o600)
        self.started: dict[int, Daemon] = {}

    def under(self, minor: int) -> Daemon:
        if minor not in self.started:
            python, directory = self._python_of(minor), self._directory / str(minor)
            directory.mkdir()
            self.started[minor] = node_under(python, str(self.secret_file), directory)
        return self.started[minor]


@pytest.fixture(scope="module")
def nodes(python_of: Callable[[int], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    made = Nodes(python_of, tmp_path_factory.mktemp("nodes"))
    yield made
    for node in made.started.values():
        node.stop()


@pytest.mark.parametrize("there", range(10, 14), ids=lambda minor: f"on 3.{minor}")
@pytest.mark.parametrize("here", range(10, 14), ids=lambda minor: f"from 3.{minor}")
def test_definitions_of_all_kinds_compute_the_same_under_each_version(
    here: int, there: int, nodes: Nodes, python_of: Callable[[int], str], tmp_path: Path
) -> None:
    python, node = python_of(here), nodes.under(there)
    env = {**os.environ, "GDISPY_SECRET_FILE": str(nodes.secret_file), "PYTHONPATH": str(ROOT)}
    words = [python, str(ACROSS), f"{node.place[0]}:{node.place[1]}"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    seen: dict[str, dict[str, object]] = {"computation": {}, "argument": {}}
    for line in done.stdout.splitlines():
        way, topic, result = json.loads(line)
        seen[way][topic] = result
    assert seen["computation"] == EXPECTED
    # The files of modules that are imported in a function, and the texts of whole classes, come with computations only.
    assert seen["argument"] == {topic: each for topic, each in EXPECTED.items() if topic not in WITH_COMPUTATION}


def test_what_a_program_defines_runs_under_another_version(
    other: tuple[str, Daemon], secret_file: str, tmp_path: Path
) -> None:
    theirs, node = other
    ours = f"3.{OURS}"
    env = {**os.environ, "GDISPY_SECRET_FILE": secret_file}
    words = [sys.executable, str(PROGRAM), f"{node.place[0]}:{node.place[1]}"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    here = (3, int(theirs.split(".")[1]))
    lines = done.stdout.splitlines()
    assert lines[:11] == [
        f"([6, -1, 1, 4, 40, 2, 0], 'set', True, 1, {here}) square with 4 sides m one [] None",
        f"([9, -4, 24, 16, 48, 32, 3], 'set', True, 4, {here}) square with 4 sides m more ['word'] None",
        "8 [8, 9, 10]",
        "8",
        "12 36",
        "30",
        "square with 4 sides None",
        "(True, 'square with 4 sides', 72) 9 None",
        "(True, 'late with 0 sides', 5) None",
        "2 None",
        "3 None",
    ]
    # What cannot go there is refused with the reason.
    reason = f"it holds code that Python {ours} has compiled, and this is Python {theirs}, and there is no source text"
    assert reason in "\n".join(lines[11:])
    assert f"it runs Python {theirs}, but the function was compiled by Python {ours}" in lines[-1]


def test_the_same_program_runs_under_the_same_version(
    start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    node = start_node("--cpus", "1")
    env = {**os.environ, "GDISPY_SECRET_FILE": secret_file}
    words = [sys.executable, str(PROGRAM), f"{node.place[0]}:{node.place[1]}"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[8:] == [
        *["(True, 'late with 0 sides', 5) None", "2 None", "3 None"],
        *["1 None", "1"],
    ]


def test_programs_run_under_any_version(other: tuple[str, Daemon], secret_file: str) -> None:
    _, node = other
    code = """
import sys, gdispy
with gdispy.JobCluster("echo", nodes=sys.argv[1:]) as cluster:
    print(cluster.submit("hello")(), cluster.status().nodes[0].jobs_done)
"""
    env = {**os.environ, "GDISPY_SECRET_FILE": secret_file}
    done = run_python(code, f"{node.place[0]}:{node.place[1]}", env=env)
    assert done.stdout == b"0 1\n", done.stderr
