"""`gdispy help`."""

from __future__ import annotations

import pytest

from gdispy.cli.commands import SUBCOMMANDS
from gdispy.cli.help import help_main


@pytest.mark.parametrize("name", [*SUBCOMMANDS, "gdispy", "gdispy-node", "gdispy-scheduler"])
def test_help_of_each_command_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = help_main([name])
    except SystemExit as end:
        code = end.code or 0
    assert code == 0 and name in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("name", "hint"), [("nods", "did you mean 'nodes'?"), ("xyz", "see gdispy help"), ("run", "see gdispy --help")]
)
def test_unknown_command_is_an_error(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert help_main([name]) == 2 and hint in capsys.readouterr().err
