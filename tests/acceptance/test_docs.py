"""The documentation: it builds without a warning, says all there is, and its links lead somewhere."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import gdispy
from gdispy.cli.node_options import node_parser
from gdispy.cli.scheduler import scheduler_parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    goal = tmp_path_factory.mktemp("html")
    options = ["-q", "-W", "--keep-going", "-b", "html", "-d", str(goal / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(goal)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return goal


def test_it_builds_without_a_warning(built: Path) -> None:
    pages = {path.relative_to(built).with_suffix("").as_posix() for path in built.rglob("*.html")}
    sources = {
        path.relative_to(DOCS).with_suffix("").as_posix() for path in [*DOCS.rglob("*.md"), *DOCS.rglob("*.rst")]
    }
    assert sources - {name for name in sources if name.startswith("_build")} <= pages


def test_the_reference_has_every_public_name(built: Path) -> None:
    text = (built / "api.html").read_text()
    missing = [name for name in gdispy.__all__ if f'id="gdispy.{name}"' not in text]
    assert missing == []


def test_the_reference_has_every_method_of_clusters_and_jobs(built: Path) -> None:
    text = (built / "api.html").read_text()
    #: Other names of what is there.
    others = {"stats", "shutdown"}
    for kind in (gdispy.JobCluster, gdispy.DispyJob):
        methods = {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")} - others
        fields = set(getattr(kind, "__slots__", ()))
        missing = [name for name in methods - fields if f'id="gdispy.{kind.__name__}.{name}"' not in text]
        assert missing == [], kind


def test_the_reference_tells_what_the_docstrings_tell(built: Path) -> None:
    text = re.sub(r"<[^>]+>|\s+", " ", (built / "api.html").read_text())
    assert "higher runs first" in text and "Send an intermediate value of the running job" in text


def test_every_example_is_in_the_guide() -> None:
    pages = [*(DOCS / "guide").glob("*.md"), DOCS / "sharing.md", DOCS / "recovery.md"]
    guide = "".join(path.read_text() for path in pages)
    shown = set(re.findall(r"literalinclude\} (?:\.\./)+examples/(\S+)", guide))
    assert shown == {path.name for path in (ROOT / "examples").iterdir() if path.is_file()} - {
        "first_run.py",
        "ruff.toml",
    }


@pytest.mark.parametrize("parser", [node_parser, scheduler_parser])
def test_those_who_come_from_dispy_find_every_option(parser: Callable[[], argparse.ArgumentParser]) -> None:
    text = (DOCS / "dispy.md").read_text()
    actions = [each for each in parser()._actions if each.help != argparse.SUPPRESS]
    names = [each.dest for each in actions if each.dest not in ("help", "version", "insecure", "debug")]
    missing = [name for name in names if f"--{name}" not in text and f"--{name.replace('_', '-')}" not in text]
    assert missing == []


def test_those_who_come_from_dispy_find_every_parameter() -> None:
    text = (DOCS / "dispy.md").read_text()
    parameters = inspect.signature(gdispy.JobCluster).parameters
    assert [name for name in parameters if f"`{name}`" not in text] == []


def fences(path: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^ *```{language}$(.*?)^ *```$", path.read_text())


@pytest.mark.parametrize("page", [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"], ids=str)
def test_what_is_shown_in_python_is_python(page: Path) -> None:
    for code in fences(page, "python"):
        compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_output_that_is_shown_is_what_comes() -> None:
    (shown,) = fences(DOCS / "guide" / "trouble.md", "text")
    command = [sys.executable, str(ROOT / "examples" / "trouble.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == shown.lstrip("\n"), done.stderr


def test_the_first_program_of_the_readme_runs() -> None:
    program = fences(ROOT / "README.md", "python")[0]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{[n * n for n in range(10)]}\n", done.stderr


#: Columns that a page shows without scrolling, on a desktop.
CODE_WIDTH = 80
#: Bytes and pictures of the design: there a line that is broken is harder to read than one that scrolls.
WIDE_PAGES = {"protocol.md", "internals.md"}


@pytest.mark.parametrize("page", [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"], ids=str)
def test_code_is_not_too_wide(page: Path) -> None:
    """Output of programs, in blocks of `text`, is shown as it is."""
    if page.name in WIDE_PAGES:
        return
    blocks = re.findall(r"(?ms)^ *```([^\n]*)$(.*?)^ *```$", page.read_text())
    lines = [line for language, block in blocks if language != "text" for line in block.splitlines()]
    assert [line for line in lines if len(line) > CODE_WIDTH] == []


EXAMPLES = [path for path in sorted((ROOT / "examples").rglob("*")) if path.suffix in (".py", ".sh")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_not_too_wide(path: Path) -> None:
    assert [line for line in path.read_text().splitlines() if len(line) > CODE_WIDTH] == []


def links(path: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?s)```.*?```", "", path.read_text()))
    return [link for link in found if "://" not in link]


@pytest.mark.parametrize("page", [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        goal = page.parent / name if name else page
        assert goal.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", goal.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}, link
