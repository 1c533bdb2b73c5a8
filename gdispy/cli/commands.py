"""The subcommands of `gdispy`: their names, modules and help texts, and suggestions for mistyped names."""

from __future__ import annotations

import argparse
import difflib
from importlib import import_module
from typing import NamedTuple


class Program(NamedTuple):
    """An installed program."""

    #: Imported on demand, which shortens the start of each command.
    module: str
    #: The function that creates the parser of its options.
    parser: str
    about: str

    def make_parser(self) -> argparse.ArgumentParser:
        return _made(self.module, self.parser)


class Command(NamedTuple):
    """A subcommand."""

    #: As in `Program`.
    module: str
    function: str
    parser: str
    about: str

    def make_parser(self) -> argparse.ArgumentParser:
        return _made(self.module, self.parser)


def _made(module: str, function: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = getattr(import_module(f"gdispy.cli.{module}"), function)()
    return parser


def _command(name: str, about: str, module: str = "") -> Command:
    """The command `name`, whose functions are named after it."""
    return Command(module or name, f"{name}_main", f"{name}_parser", about)


SUBCOMMANDS = {
    "help": _command("help", "show the help of gdispy, or of a command: gdispy help [COMMAND]"),
    "nodes": _command("nodes", "list the nodes that are found, with the reason if one cannot be used"),
    "status": _command("status", "show the status of a gdispy-scheduler: nodes, clients, jobs"),
    "explain": _command("explain", "show why jobs at a gdispy-scheduler wait, or what a job does"),
    "logs": _command("logs", "show what a gdispy-scheduler and its nodes have logged"),
    "admin": _command("admin", "serve a web page of all nodes that are found, and of schedulers"),
    "usage": _command("usage", "show who has used the nodes of a gdispy-scheduler, and how much"),
    "start-nodes": _command("start", "start gdispy-node on other machines over ssh", "start_nodes"),
    "stop-nodes": _command("stop", "stop the nodes started by start-nodes", "start_nodes"),
    "drain": _command("drain", "have nodes finish their running jobs and take no others"),
    "undrain": _command("undrain", "have drained nodes take jobs again", "drain"),
    "relay": _command("relay", "make the nodes of this network known to programs in other networks"),
    "certificate": _command("certificate", "create a TLS certificate and its private key"),
    "journal": _command("journal", "show the contents of a recovery file or journal"),
    "report": _command("report", "write a report of the jobs in a recovery file or journal"),
    "completion": _command("completion", "print the completion script of a shell: bash, zsh or fish"),
}

PROGRAMS = {
    "gdispy": Program("run_options", "parser", "run a program on many machines, with different arguments each time"),
    "gdispy-node": Program("node_options", "node_parser", "run the jobs of clients on this machine"),
    "gdispy-scheduler": Program("scheduler", "scheduler_parser", "share nodes among several programs"),
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
    "jobs": ["gdispy status --jobs"],
    "log": ["gdispy logs"],
    "why": ["gdispy explain"],
    "dispyadmin": ["gdispy admin"],
    "dashboard": ["gdispy admin"],
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
