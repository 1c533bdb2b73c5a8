"""`gdispy completion`."""

from __future__ import annotations

import sys

import pytest

from gdispy.cli.commands import PROGRAMS, SUBCOMMANDS
from gdispy.cli.completion import SHELLS, completion_main


def test_without_the_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert completion_main(["bash"]) == 2
    assert "pip install 'gdispy[completion]'" in capsys.readouterr().err


def test_other_shells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        completion_main(["tcsh"])
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


@pytest.mark.parametrize("shell", SHELLS)
def test_script_has_all_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert completion_main([shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in (*PROGRAMS, *SUBCOMMANDS, "joblog", "dest_path_prefix"))


@pytest.mark.parametrize("name", [*PROGRAMS, *SUBCOMMANDS])
def test_each_command_has_a_parser_of_its_name(name: str) -> None:
    command = PROGRAMS.get(name) or SUBCOMMANDS[name]
    assert command.make_parser().prog == (name if name in PROGRAMS else f"gdispy {name}")
