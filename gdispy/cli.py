"""The commands, by the names that `scripts/` know them by.

Floor 4. `scripts/` patch first and import this module then. Each `..._main` takes the words of the
command line and returns the exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

#: First word -> module and function. Imported when they are wanted: a command starts sooner.
_SUBCOMMANDS = {
    "status": ("overview", "status_main"),
    "nodes": ("survey", "nodes_main"),
    "relay": ("relay", "relay_main"),
    "certificate": ("certificate", "certificate_main"),
    "start-nodes": ("starting", "start_main"),
    "stop-nodes": ("starting", "stop_main"),
    "journal": ("reader", "journal_main"),
}


def node_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-node`."""
    from gdispy import serve

    return serve.node_main(words)


def main(words: Sequence[str] | None = None) -> int:
    """`gdispy`: a bare first word that names a subcommand is that; a program of such a name is given with its path."""
    words = sys.argv[1:] if words is None else words
    place = _SUBCOMMANDS.get(words[0]) if words else None
    if place is not None:
        command: int = getattr(import_module(f"gdispy.{place[0]}"), place[1])(words[1:])
        return command
    from gdispy.run import run_main

    return run_main(words)


def scheduler_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-scheduler`."""
    from gdispy import share

    return share.scheduler_main(words)
