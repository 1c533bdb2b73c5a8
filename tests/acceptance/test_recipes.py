"""The programs of the recipes print what the page shows: times, ports and paths aside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


class Recipe(NamedTuple):
    title: str
    program: str
    printed: str


def recipes() -> list[Recipe]:
    found = []
    for section in re.split(r"(?m)^##+ ", PAGE.read_text())[1:]:
        title = section.partition("\n")[0]
        blocks = re.findall(r"(?s)```python\n(.*?)```\n\n```text\n(.*?)```", section)
        found += [Recipe(f"{title} {number}", *block) for number, block in enumerate(blocks, 1)]
    return found


def in_kind(text: str) -> str:
    """Without what differs from run to run."""
    text = re.sub(r"local-\w+", "local", text)
    text = re.sub(r'File ".*/', 'File "', text)
    # The tables of `print_status`: sizes, times and ports.
    text = re.sub(r"(?m)^(127|Total).*", lambda row: re.sub(r"[\d.]+( [BKMG]\b)?", "N", row[0]), text)
    return re.sub(r" +", " ", text)


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.title)
def test_a_recipe_prints_what_the_page_shows(recipe: Recipe, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(recipe.program)
    command = [sys.executable, "-W", "error", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=dict(os.environ))
    assert in_kind(done.stdout) == in_kind(recipe.printed), done.stderr
    assert done.returncode == 0, done.stderr


def test_every_program_of_the_page_is_run() -> None:
    assert len(recipes()) == PAGE.read_text().count("```python\n") >= 15
