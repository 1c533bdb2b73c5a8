"""The subcommands of `gdispy`: what they are called, where they are, and what may have been meant by another word.

Used by `__init__.py`, and for the help of `run.py`.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand."""

    #: Imported when it is wanted: a command starts sooner.
    module: str
    function: str
    about: str


SUBCOMMANDS = {
    "nodes": Command("nodes", "nodes_main", "list the nodes that are found, and why one cannot be used"),
    "status": Command("status", "status_main", "show how a gdispy-scheduler stands: nodes, clients, jobs"),
    "start-nodes": Command("start_nodes", "start_main", "start gdispy-node on other machines over ssh"),
    "stop-nodes": Command("start_nodes", "stop_main", "end what start-nodes has started"),
    "relay": Command("relay", "relay_main", "make the nodes of this network known to programs in others"),
    "certificate": Command("certificate", "certificate_main", "make a certificate for TLS, and its private key"),
    "journal": Command("journal", "journal_main", "show what a recovery file or journal holds"),
}

#: Words that somebody types who expects other commands -> what there is instead.
_ELSEWHERE = {
    "help": ["gdispy --help"],
    "version": ["gdispy --version"],
    "run": ["gdispy PROGRAM"],
    "submit": ["gdispy PROGRAM"],
    "node": ["gdispy nodes", "gdispy-node"],
    "worker": ["gdispy-node"],
    "start-node": ["gdispy start-nodes", "gdispy-node"],
    "scheduler": ["gdispy-scheduler", "gdispy status"],
    "list": ["gdispy nodes"],
    "jobs": ["gdispy status"],
    "cert": ["gdispy certificate"],
    "start": ["gdispy start-nodes", "gdispy-node"],
    "stop": ["gdispy stop-nodes"],
}
#: How like a subcommand a word must be to be taken for a slip, from 0 to 1.
_LIKE = 0.75


def overview() -> str:
    """All subcommands, a line each."""
    width = max(map(len, SUBCOMMANDS))
    lines = [f"  gdispy {name:{width}}  {command.about}" for name, command in SUBCOMMANDS.items()]
    return "\n".join(["other commands (each has --help):", *lines])


def meant(word: str) -> list[str]:
    """What may have been meant by a first word that is no subcommand; nothing where it is the name of a program."""
    plain = word.lower().replace("_", "-")
    if plain in _ELSEWHERE:
        return _ELSEWHERE[plain]
    if "/" in word or word.startswith("-"):
        return []
    return [f"gdispy {name}" for name in difflib.get_close_matches(plain, SUBCOMMANDS, n=2, cutoff=_LIKE)]
