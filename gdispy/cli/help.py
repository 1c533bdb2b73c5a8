"""The command `gdispy help [COMMAND]`: shows the help of a command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gdispy.cli.commands import PROGRAMS, SUBCOMMANDS, meant
from gdispy.cli.options import add_common_options, fail, parse
from gdispy.errors import ConfigError


def help_parser() -> argparse.ArgumentParser:
    """The options of `gdispy help`."""
    parser = argparse.ArgumentParser(prog="gdispy help", description="Show the help of gdispy, or of a command.")
    text = f"a command of gdispy, or one of {', '.join(PROGRAMS)}"
    parser.add_argument("command", nargs="?", default="gdispy", help=text)
    add_common_options(parser)
    return parser


def help_main(words: Sequence[str] | None = None) -> int:
    """`gdispy help`; returns the exit code."""
    name = parse(help_parser(), words).command
    command = PROGRAMS.get(name) or SUBCOMMANDS.get(name)
    if command is None:
        others = [text.removeprefix("gdispy ") for text in meant(name)]
        if "PROGRAM" in others:
            return fail("gdispy help", ConfigError(f"{name!r} is not a command; to run a program: see gdispy --help"))
        hint = f"did you mean {' or '.join(map(repr, others))}?" if others else "see gdispy help"
        return fail("gdispy help", ConfigError(f"unknown command {name!r}; {hint}"))
    command.make_parser().print_help()
    return 0
