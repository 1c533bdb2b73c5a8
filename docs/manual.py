"""Writes a manual page for each command, from the parsers of their options.

    python docs/manual.py [DIRECTORY]        (default: docs/_build/man)

`gdispy-nodes.1` is the page of `gdispy nodes`, as with git. The pages are for `man -l FILE`, or for a directory in
`MANPATH`. argparse-manpage makes the sections of options; the epilogs, whose lines are tables, are added here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from argparse_manpage.manpage import Manpage

from gdispy import config
from gdispy.cli.commands import PROGRAMS, SUBCOMMANDS, Command, Program

ROOT = Path(__file__).parents[1]


def page(name: str, command: Command | Program) -> str:
    """The manual page of a command."""
    parser = command.make_parser()
    epilog, parser.epilog = parser.epilog or "", None
    made = Manpage(parser)
    made.prog = name
    made.description = command.about
    made.source, made.manual = f"gdispy {config.VERSION}", "User Commands"
    others = [each for each in names() if each != name]
    return f"{str(made).rstrip()}\n{_notes(epilog)}.SH SEE ALSO\n{', '.join(map(_reference, others))}\n"


def names() -> dict[str, Command | Program]:
    """All commands, by the names of their pages."""
    return {**PROGRAMS, **{f"gdispy-{name}": command for name, command in SUBCOMMANDS.items()}}


def _notes(epilog: str) -> str:
    if not epilog:
        return ""
    return "\n".join([".SH NOTES", ".nf", *map(_line, epilog.strip("\n").splitlines()), ".fi", ""])


def _line(text: str) -> str:
    """A line of text, in which nothing is a request or an escape."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _reference(name: str) -> str:
    return f"\\fB{_line(name)}\\fR(1)"


def main(goal: Path) -> None:
    goal.mkdir(parents=True, exist_ok=True)
    for name, command in names().items():
        (goal / f"{name}.1").write_text(page(name, command))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the manual pages.")
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "docs" / "_build" / "man")
    main(parser.parse_args(sys.argv[1:]).directory)
