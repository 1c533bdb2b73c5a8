"""The entry points of the commands.

`_gdispy_programs.py` applies gevent's patches before it imports this module. Each `..._main` takes the command-line
arguments and returns the exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from gdispy.cli.commands import SUBCOMMANDS, meant
from gdispy.cli.options import fail
from gdispy.cli.standard_streams import guarded
from gdispy.errors import ConfigError


def node_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-node`."""

    def command() -> int:
        from gdispy.cli import node

        return node.node_main(words)

    return guarded("gdispy-node", command)


def main(words: Sequence[str] | None = None) -> int:
    """`gdispy`. A first argument that names a subcommand selects it, and one that nearly does is an error with a hint;
    a program of such a name is given with its path, or after `--`."""
    return guarded("gdispy", lambda: _main(sys.argv[1:] if words is None else words))


def _main(words: Sequence[str]) -> int:
    first = words[0] if words else ""
    place = SUBCOMMANDS.get(first)
    if place is not None:
        command: int = getattr(import_module(f"gdispy.cli.{place.module}"), place.function)(words[1:])
        return command
    others = meant(first)
    if others:
        text = f"unknown command {first!r}; did you mean {' or '.join(map(repr, others))}?"
        return fail("gdispy", ConfigError(f"{text} To run a program of that name: gdispy -- {first}"))
    from gdispy.cli.run import run_main

    return run_main(words)


def scheduler_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-scheduler`."""

    def command() -> int:
        from gdispy.cli import scheduler

        return scheduler.scheduler_main(words)

    return guarded("gdispy-scheduler", command)
