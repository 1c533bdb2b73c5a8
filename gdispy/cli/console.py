"""The console of a node: commands on standard input, one per line.

Runs in a separate greenlet. It reads only when input is available and the node is in the foreground of its terminal:
the kernel stops a background process that reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import gevent
from gevent import socket

from gdispy.errors import ConfigError, GdispyError
from gdispy.node import Node

#: Seconds between two checks whether the node is in the foreground.
_PATIENCE = 1.0

_HELP = "commands: quit, stop (accept no new jobs), start, cpus N, release; anything else shows this"


def is_wanted() -> bool:
    """Whether standard input is a terminal and this process is in its foreground."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def run(obey: Callable[[str], str]) -> None:
    """Run the commands from standard input until its end; print the replies."""
    for line in _lines():
        try:
            print(obey(line), flush=True)
        except (OSError, GdispyError):  # The terminal is gone.
            return


def obey(node: Node, line: str, count_cpus: Callable[[int], int]) -> str:
    """Run one command; returns the reply."""
    word, _, rest = line.strip().partition(" ")
    if word in ("quit", "exit"):
        node.stop()
        return "ending"
    if word == "stop":
        node.control.stop_jobs()
        return "no new jobs are accepted; 'start' accepts them again"
    if word == "start":
        node.control.start_jobs()
        return "jobs are accepted"
    if word == "cpus":
        return _set_cpus(node, rest, count_cpus)
    if word == "release":
        return node.release()
    return "\n".join([*node.status(), _HELP])


def _set_cpus(node: Node, text: str, count_cpus: Callable[[int], int]) -> str:
    try:
        wanted = int(text)
        if not wanted:
            return "write 'stop' to accept no new jobs, or 'cpus' with a number other than 0"
        cpus = count_cpus(wanted)
    except ConfigError as error:
        return str(error)
    except ValueError:
        return f"write a number after 'cpus', not {text!r}"
    node.control.set_cpus(cpus)
    return f"CPUs: {cpus}"


def _lines() -> Iterator[str]:
    rest = b""
    while True:
        if not is_wanted():
            gevent.sleep(_PATIENCE)
            continue
        try:
            socket.wait_read(0, timeout=_PATIENCE, timeout_exc=TimeoutError())
        except TimeoutError:
            continue
        if not is_wanted():
            continue
        try:
            data = os.read(0, 4096)
        except OSError:  # The terminal is gone.
            return
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
