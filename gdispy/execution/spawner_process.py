"""Starts the spawner of a node: the process that creates all others (`worker/spawner.py`).

By exec, never by fork. Also reads from control sockets, and describes why a process has ended or could not start.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from gevent import socket

from gdispy.protocol.texts import KILLED_BY_KERNEL, KILLED_BY_NODE
from gdispy.runtime.process_hardening import is_secret_variable, open_files_before
from gdispy.runtime.subprocess_env import importable
from gdispy.worker import control
from gdispy.worker.frames import BROKEN
from gdispy.worker.process_tree import signal_name

#: The program of the spawner: the working directory is removed from `sys.path`, since its files must not shadow
#: modules.
_PROGRAM = """
import sys
if sys.path[:1] == [""]: del sys.path[0]
from gdispy.worker.spawner import main
main()
"""


#: Errors of a machine or a user without resources for one more computation.
_LIMITS = {
    errno.EAGAIN: "The user has reached the limit of processes: ulimit -u, or the pids limit of the container",
    errno.EMFILE: "The process has reached the limit of open files: ulimit -n",
    errno.ENFILE: "The machine has reached the limit of open files: fs.file-max",
    errno.ENOMEM: "The machine does not have enough memory",
}

#: The causes of the end of a process that the node itself kills: the signal alone would tell of another process.
KILLED = f"{KILLED_BY_NODE} its process"
DEFECT = f"{KILLED_BY_NODE} its process because of a defect in gdispy; see the log of the node"


def start_spawner(directory: str, init: str, instance: bytes) -> tuple[socket.socket, int]:
    """Start a spawner for the node's directory, which runs the file `init` first if there is one; returns the node's
    end of its control socket, and its process. Raises OSError."""
    end, theirs = control.pair()
    theirs.set_inheritable(True)
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), directory, init, str(open_files_before())],
        _environment(instance),
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsid=True,
    )
    theirs.close()
    return end, pid


def _environment(instance: bytes) -> dict[str, str]:
    """The environment of the spawner, and so of all jobs: without secrets, marked as this node's."""
    environment = {key: value for key, value in os.environ.items() if not is_secret_variable(key)}
    environment["GDISPY_NODE"] = instance.hex()
    return importable(environment)


def cause_of(status: int, what: str) -> str:
    """A wait status as text."""
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        return f"{what} was killed by {signal_name(9)}: by another process, or {KILLED_BY_KERNEL}"
    if code < 0:
        return f"{what} was killed by {signal_name(-code)}"
    if code == BROKEN:
        return (
            f"{what} ended with exit code {code}, because something that it needs was broken, such as its own open "
            "files (did the job close files that it had not opened?)"
        )
    return f"{what} ended with exit code {code} before the job was done"


def why_not_started(error: Exception) -> str:
    """Why a computation has no processes."""
    if isinstance(error, OSError) and error.errno in _LIMITS:
        return f"the node has no resources for it: {error.strerror}. {_LIMITS[error.errno]}"
    return str(error)


def messages(end: socket.socket) -> Iterator[list[Any]]:
    """The messages of a control socket, until its other end is closed."""
    end.setblocking(False)
    while True:
        try:
            socket.wait_read(end.fileno())
            received = control.receive(end)
        except BlockingIOError:
            continue
        except (OSError, ValueError):
            return
        if received is None:
            return
        yield received[0]
