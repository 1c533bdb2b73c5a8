"""Starts the spawner of a node: the process that makes all others (`worker/spawner.py`).

Floor 2. Called by `workers.py`. By exec, never by fork.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from gdispy.local import importable
from gdispy.worker import control

#: Its program: without the working directory, whose files are none of the node's business.
_PROGRAM = """
import sys
if sys.path[:1] == [""]: del sys.path[0]
from gdispy.worker.spawner import main
main()
"""


def start_spawner(directory: str, init: str, instance: bytes) -> tuple[Any, int]:
    """Start one for the node's directory, which runs the file `init` first if there is one; the node's end of its
    control socket, and its process. Raises OSError."""
    end, theirs = control.pair()
    theirs.set_inheritable(True)
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), directory, init],
        _environment(instance),
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsid=True,
    )
    theirs.close()
    return end, pid


def _environment(instance: bytes) -> dict[str, str]:
    """The environment of the spawner, and so of all jobs: without secrets, marked as this node's."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GDISPY_SECRET")}
    environment["GDISPY_NODE"] = instance.hex()
    return importable(environment)
