"""Completions in real shells, and the manual pages, from the installed commands."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gdispy.cli.commands import PROGRAMS, SUBCOMMANDS
from tests.support.daemons import lacking, run_script

ROOT = Path(__file__).parents[2]

CASES = [
    (["gdispy", "--jo"], {"--jobs", "--joblog"}),
    (["gdispy", "--local", "--no-k"], {"--no-keep-order"}),
    (["gdispy", "stat"], {"status"}),
    (["gdispy", "status", "--js"], {"--json"}),
    (["gdispy", "help", "gdispy-"], {"gdispy-node", "gdispy-scheduler"}),
    (["gdispy", "completion", "z"], {"zsh"}),
    (["gdispy-node", "--dest"], {"--dest_path_prefix"}),
    (["gdispy-scheduler", "--jour"], {"--journal"}),
]


def script(shell: str, tmp_path: Path) -> str:
    """The path of the script for a shell; skips the test where the shell or the library is not installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    if importlib.util.find_spec("shtab") is None:
        lacking("shtab is not installed")
    done = run_script("gdispy", "completion", shell)
    assert (done.returncode, done.stderr) == (0, b"")
    (tmp_path / "script").write_bytes(done.stdout)
    return str(tmp_path / "script")


def run(*command: str, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, **options)  # type: ignore[call-overload]
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return str(done.stdout)


def in_bash(path: str, words: list[str], directory: Path) -> set[str]:
    function = f"_shtab_{words[0].replace('-', '_')}"
    line = f"source {shlex.quote(path)}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; {function}; "
    line += 'printf "%s\\n" "${COMPREPLY[@]}"; complete -p gdispy gdispy-node gdispy-scheduler >/dev/null'
    return {*run("bash", "--norc", "-c", line, cwd=directory).split()}


@pytest.mark.parametrize(("words", "found"), CASES)
def test_bash_completes(words: list[str], found: set[str], tmp_path: Path) -> None:
    assert found <= in_bash(script("bash", tmp_path), words, tmp_path)


def test_bash_completes_files_and_programs(tmp_path: Path) -> None:
    path = script("bash", tmp_path)
    (tmp_path / "data.csv").touch()
    (tmp_path / "dir").mkdir()
    for words in (["gdispy", "-f", "d"], ["gdispy", "./program", "d"], ["gdispy", "d"]):
        assert {"data.csv", "dir"} <= in_bash(path, words, tmp_path), words
    assert in_bash(path, ["gdispy", "--results", "d"], tmp_path) == {"dir"}
    assert {"printf"} <= in_bash(path, ["gdispy", "--local", "printf"], tmp_path)


@pytest.mark.parametrize(("words", "found"), CASES)
def test_fish_completes(words: list[str], found: set[str], tmp_path: Path) -> None:
    path = script("fish", tmp_path)
    line = f"source {shlex.quote(path)}; complete -C {shlex.quote(' '.join(words))}"
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    assert found <= {each.split("\t")[0] for each in run("fish", "-c", line, env=environment).splitlines()}


def test_zsh_reads_the_script(tmp_path: Path) -> None:
    path = script("zsh", tmp_path)
    line = f'autoload -U compinit; compinit -u -D; eval "$(cat {shlex.quote(path)})"; print -l '
    line += " ".join(f"$_comps[{name}]" for name in PROGRAMS)
    assert run("zsh", "-f", "-c", line).split() == [f"_shtab_{name.replace('-', '_')}" for name in PROGRAMS]


def test_manual_pages_are_complete_and_render_without_warnings(tmp_path: Path) -> None:
    if importlib.util.find_spec("argparse_manpage") is None:
        lacking("argparse-manpage is not installed")
    run(sys.executable, str(ROOT / "docs" / "manual.py"), str(tmp_path))
    pages = {path.stem: path for path in tmp_path.glob("*.1")}
    assert pages.keys() == {*PROGRAMS, *(f"gdispy-{name}" for name in SUBCOMMANDS)}
    assert "--joblog FILE" in pages["gdispy"].read_text().replace("\\-", "-").replace("\\fR \\fI\\,", " ")
    if shutil.which("groff") is None:
        lacking("groff is not installed")
    for name, path in pages.items():
        shown = run("groff", "-ww", "-man", "-Tutf8", str(path))
        assert f"{name.upper()}(1)" in shown
