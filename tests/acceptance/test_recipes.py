"""The programs on pages that are followed by their output print that: times, ports and paths aside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = DOCS / "recipes.md"
#: Pages that begin with a short program.
GUIDE = (
    "debugging",
    "reports",
    "executor",
    "files",
    "limits",
    "node-data",
    "notebooks",
    "optimise",
    "scheduling",
    "values",
)
PAGES = [RECIPES, DOCS / "recovery.md", *(DOCS / "guide" / f"{name}.md" for name in GUIDE)]


class Recipe(NamedTuple):
    title: str
    program: str
    printed: str


def recipes(page: Path) -> list[Recipe]:
    blocks = re.findall(r"(?s)```python\n([^`]*?)```\n\n```text\n(.*?)```", page.read_text())
    return [Recipe(f"{page.stem} {number}", *block) for number, block in enumerate(blocks, 1)]


def in_kind(text: str) -> str:
    """Without what differs from run to run."""
    text = re.sub(r"local-\w+", "local", text)
    text = re.sub(r'File ".*/', 'File "', text)
    # The tables of `print_status`: sizes, times and ports.
    text = re.sub(r"(?m)^(127|Total).*", lambda row: re.sub(r"[\d.]+( [BKMG]\b)?", "N", row[0]), text)
    return re.sub(r" +", " ", text)


@pytest.mark.parametrize("recipe", [each for page in PAGES for each in recipes(page)], ids=lambda recipe: recipe.title)
def test_a_program_prints_what_the_page_shows(recipe: Recipe, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(recipe.program)
    command = [sys.executable, "-W", "error", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=dict(os.environ))
    assert in_kind(done.stdout) == in_kind(recipe.printed), done.stderr
    assert done.returncode == 0, done.stderr


def test_every_recipe_is_run() -> None:
    assert len(recipes(RECIPES)) == RECIPES.read_text().count("```python\n") >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_begins_with_a_short_program(page: Path) -> None:
    assert 0 < len(recipes(page)[0].program.splitlines()) <= 20
    before, *longer = page.read_text().split("```{literalinclude}")
    assert page == RECIPES or not longer or "```text" in before
