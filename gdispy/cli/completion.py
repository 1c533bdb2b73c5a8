"""The command `gdispy completion SHELL`: prints a script that completes the options of all commands in that shell.

The library shtab, an optional dependency, makes the scripts from the parsers. In completions the parser of `gdispy` has
the subcommands as subparsers, which it has not when it runs: there the first word decides (`cli/__init__.py`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gdispy.cli.commands import PROGRAMS, SUBCOMMANDS
from gdispy.cli.options import add_common_options, fail, parse
from gdispy.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")
_USE = """to try it, or for each new shell in its start file (~/.bashrc, ~/.zshrc, ~/.config/fish/config.fish):
  eval "$(gdispy completion bash)"
  eval "$(gdispy completion zsh)"               after compinit
  gdispy completion fish | source
"""
#: The first word of `gdispy` that is not an option may also be any program.
_ANY_PROGRAM = {
    # The last line ends the position of the program after one word.
    "bash": """_gdispy_program_files() {
  compgen -A command -- "$1"
  compgen -f -- "$1"
}
_shtab_gdispy_pos_0_COMPGEN=_gdispy_program_files
_shtab_gdispy_pos_0_nargs=1
""",
    "zsh": "",
    "fish": "",
}


def completion_parser() -> argparse.ArgumentParser:
    """The options of `gdispy completion`."""
    parser = argparse.ArgumentParser(
        prog="gdispy completion",
        description="Print a script that completes the options of gdispy, gdispy-node and gdispy-scheduler.",
        epilog=_USE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")
    add_common_options(parser)
    return parser


def completion_main(words: Sequence[str] | None = None) -> int:
    """`gdispy completion`; returns the exit code."""
    shell = parse(completion_parser(), words).shell
    try:
        import shtab
    except ImportError:
        text = "completions need the library shtab: pip install 'gdispy[completion]'"
        return fail("gdispy completion", ConfigError(text))
    for name, program in PROGRAMS.items():
        parser = program.make_parser()
        if name == "gdispy":
            _add_subcommands(parser)
        _complete_files(parser, shtab.FILE, shtab.DIRECTORY)
        preamble = _ANY_PROGRAM if name == "gdispy" else ""
        sys.stdout.write(f"{shtab.complete(parser, shell, preamble=preamble)}\n")
    return 0


def _add_subcommands(parser: argparse.ArgumentParser) -> None:
    """Subcommands instead of the program, and files after it."""
    program = next(action for action in parser._actions if action.dest == "program")
    parser._remove_action(program)
    for group in parser._action_groups:
        if program in group._group_actions:
            group._group_actions.remove(program)
    commands = parser.add_subparsers(dest="program", prog="gdispy")
    for name, command in SUBCOMMANDS.items():
        made = command.make_parser()
        choice = commands.add_parser(name, help=command.about, description=made.description, add_help=False)
        for action in made._actions:
            choice._add_action(action)
            if name == "help" and action.dest == "command":
                action.choices = [*SUBCOMMANDS, *PROGRAMS]
    parser.add_argument("words", nargs="*", metavar="FILE", help="words of the program")


def _complete_files(parser: argparse.ArgumentParser, file: object, directory: object) -> None:
    """Complete the values whose names are FILE and DIR as such."""
    kinds = {"FILE": file, "DIR": directory}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _complete_files(each, file, directory)
        elif isinstance(action.metavar, str) and action.metavar in kinds:
            setattr(action, "complete", kinds[action.metavar])  # noqa: B010 (an attribute for shtab)
