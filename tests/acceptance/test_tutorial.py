"""The programs of the tutorial print what its page shows: numbers, names and paths aside."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemons import Daemon

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
PROGRAMS = sorted((ROOT / "examples" / "tutorial").glob("*.py"))
#: Those that run on a second node as well.
WITH_A_NODE = ("step5_machines.py", "step6_plot.py")
#: The largest size of a picture in the documentation, in bytes.
PICTURE_LIMIT = 60_000


def shown() -> dict[str, str]:
    """What the page shows for each program."""
    blocks = re.findall(r"(?s)```console\n([^`]*?)```\n\n```text\n(.*?)```", PAGE.read_text())
    found = {}
    for command, output in blocks:
        (name,) = re.findall(r"examples/tutorial/(\w+\.py)", command)
        found[name] = output
    return found


def in_kind(text: str) -> list[str]:
    """Lines without the values that differ from run to run, in the order of the alphabet."""
    text = re.sub(r"local-\w+", "local", text)
    text = re.sub(r'File ".*/', 'File "', text)
    # Sizes such as 1.7 K, times, ports.
    text = re.sub(r"[\d.]+( [BKMG]\b)?", "N", text)
    return sorted(" ".join(line.split()) for line in re.sub(r"-{3,}", "---", text).splitlines())


def run(name: str, *words: str, cwd: Path, secret_file: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / "tutorial" / name), *words]
    env = {**os.environ, "GDISPY_SECRET_FILE": secret_file}
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=cwd, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_every_program_and_its_output() -> None:
    names = [path.name for path in PROGRAMS]
    assert len(names) == 6 and list(shown()) == names
    assert re.findall(r"literalinclude\} \.\./examples/tutorial/(\S+)", PAGE.read_text()) == names


@pytest.mark.parametrize("name", [path.name for path in PROGRAMS if path.name not in WITH_A_NODE])
def test_a_step_prints_what_the_page_shows(name: str, tmp_path: Path, secret_file: str) -> None:
    assert in_kind(run(name, cwd=tmp_path, secret_file=secret_file)) == in_kind(shown()[name])


def test_results_are_those_that_the_page_shows(tmp_path: Path, secret_file: str) -> None:
    """The formula gives the same numbers everywhere."""
    name = "step3_executor.py"
    assert run(name, cwd=tmp_path, secret_file=secret_file) == shown()[name]


def test_a_second_node_takes_part(start_node: Callable[..., Daemon], tmp_path: Path, secret_file: str) -> None:
    daemon = start_node("--cpus", "1", "--name", "second")
    name, place = "step5_machines.py", f"127.0.0.1:{daemon.place[1]}"
    printed = run(name, "local", place, cwd=tmp_path, secret_file=secret_file)
    assert in_kind(printed) == in_kind(shown()[name])
    assert printed.splitlines()[0] == shown()[name].splitlines()[0]


def test_the_plot_is_that_of_the_page(tmp_path: Path, secret_file: str) -> None:
    name = "step6_plot.py"
    assert run(name, cwd=tmp_path, secret_file=secret_file) == shown()[name]
    made, kept = (tmp_path / "visited.png").read_bytes(), (ROOT / "docs" / "tutorial.png").read_bytes()
    assert size_of(made) == size_of(kept) == (700, 400)
    assert len(kept) < PICTURE_LIMIT


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height
