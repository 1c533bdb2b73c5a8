"""The subcommands of `gdispy`: their names, modules and help texts, and suggestions for mistyped names."""

from __future__ import annotations

import difflib
from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand."""

    #: Imported on demand, which shortens the start of each command.
    module: str
    function: str
    about: str


SUBCOMMANDS = {
    "help": Command("help", "help_main", "show the help of gdispy, or of a command: gdispy help [COMMAND]"),
    "nodes": Command("nodes", "nodes_main", "list the nodes that are found, with the reason if one cannot be used"),
    "status": Command("status", "status_main", "show the status of a gdispy-scheduler: nodes, clients, jobs"),
    "start-nodes": Command("start_nodes", "start_main", "start gdispy-node on other machines over ssh"),
    "stop-nodes": Command("start_nodes", "stop_main", "stop the nodes started by start-nodes"),
    "drain": Command("drain", "drain_main", "have nodes finish their running jobs and take no others"),
    "undrain": Command("drain", "undrain_main", "have drained nodes take jobs again"),
    "relay": Command("relay", "relay_main", "make the nodes of this network known to programs in other networks"),
    "certificate": Command("certificate", "certificate_main", "create a TLS certificate and its private key"),
    "journal": Command("journal", "journal_main", "show the contents of a recovery file or journal"),
}

#: Command names that users of other programs may expect -> our commands.
_ELSEWHERE = {
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
    "resume": ["gdispy undrain"],
    "cordon": ["gdispy drain"],
    "uncordon": ["gdispy undrain"],
}
#: Similarity, from 0 to 1, above which a word counts as a mistyped subcommand.
_LIKE = 0.75


def overview() -> str:
    """All subcommands, one per line."""
    width = max(map(len, SUBCOMMANDS))
    lines = [f"  gdispy {name:{width}}  {command.about}" for name, command in SUBCOMMANDS.items()]
    return "\n".join(["other commands (each has --help):", *lines])


def meant(word: str) -> list[str]:
    """Suggestions for a first argument that does not name a subcommand; empty if it looks like a program."""
    plain = word.lower().replace("_", "-")
    if plain in _ELSEWHERE:
        return _ELSEWHERE[plain]
    if "/" in word or word.startswith("-"):
        return []
    return [
        f"gdispy {name}" for name in difflib.get_close_matches(plain, SUBCOMMANDS.keys() - {"help"}, n=2, cutoff=_LIKE)
    ]
