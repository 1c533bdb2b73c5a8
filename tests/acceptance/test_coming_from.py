"""The programs of the page for those who know another library, and the other side where that library is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "examples" / "coming_from"
PAGE = ROOT / "docs" / "coming-from.md"

#: Each program, and the lines that it prints, in any order.
PRINTED = {
    "from_concurrent_futures.py": ["longest: 261", "27 takes 111 steps", "97 takes 118 steps", "871 takes 178 steps"],
    "from_multiprocessing.py": ["map: [0, 1, 4, 9, 16]", "starmap: [8, 9]", "apply_async: 1024"],
    "from_joblib.py": [str([float(number) for number in range(10)])],
    "from_dask.py": ["done on 127.0.0.1"] * 3 + ["total: 6"],
    "from_ray.py": ["total: 12497500"],
}
#: The other side of these is run too.
OTHERS_THAT_RUN = ("concurrent.futures", "multiprocessing", "joblib")


def run(*command: object, **options: object) -> list[str]:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(done.stdout.splitlines())


@pytest.mark.parametrize("name", PRINTED)
def test_a_program_of_gdispy_prints_the_same(name: str, tmp_path: Path) -> None:
    assert run(sys.executable, PROGRAMS / name, cwd=tmp_path) == sorted(PRINTED[name])


def test_the_lines_for_gnu_parallel_run(tmp_path: Path) -> None:
    for name, text in {"a.txt": "one two", "b.txt": "three"}.items():
        (tmp_path / name).write_text(text)
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    printed = run(PROGRAMS / "from_parallel.sh", tmp_path, env={**os.environ, "PATH": commands})
    tagged = [f"{letter} {number}\t{letter}-{number}" for letter in "ab" for number in "12"]
    assert printed == sorted(["1: a", "2: b", "2 a.txt", "1 b.txt", *tagged, "11", "12", "13"])


@pytest.mark.parametrize("library", OTHERS_THAT_RUN)
def test_the_other_side_prints_the_same(library: str, tmp_path: Path) -> None:
    program = tmp_path / "theirs.py"
    program.write_text(theirs()[library])
    name = f"from_{library.replace('.', '_')}.py"
    assert run(sys.executable, program, cwd=tmp_path) == sorted(PRINTED[name])


def theirs() -> dict[str, str]:
    """The programs on the page that are not for gdispy, by the name of their tab."""
    blocks = re.findall(r"(?s):::\{tab-item\} (\S+)\n:sync: theirs\n\n```python\n(.*?)```", PAGE.read_text())
    return dict(blocks)


def test_every_program_is_shown_beside_another() -> None:
    shown = re.findall(r"literalinclude\} \.\./examples/coming_from/(\S+)", PAGE.read_text())
    assert sorted(shown) == sorted(path.name for path in PROGRAMS.iterdir() if path.is_file())
    assert set(PRINTED) == {name for name in shown if name.endswith(".py")}
    assert len(theirs()) == len(PRINTED)
