"""The spawner: the one process that makes processes for a node. `python -m gdispy.worker.spawner FD`

Floor 1. Plain Python with one thread and no gevent, started by the node with exec. It forks a
template for each computation and is the reaper of every process below. It obeys the node:

  node -> spawner   [template, key, setting...]  with the template's end of its control socket
                    [remove, path]               delete a directory tree
  spawner -> node   [up] · [exited, key, status]

Invariant: when the node is gone (end of file), everything below is killed, the node's directory is
removed, and this process ends. So SIGKILL of a node leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
from typing import Any

import dill  # noqa: F401  (loaded once here, shared by all that is forked)

from gdispy.worker import control, names, pickling  # noqa: F401
from gdispy.worker.processes import adopt_orphans, kill_descendants
from gdispy.worker.template import Setting
from gdispy.worker.template import main as template_main


class Spawner:
    """The loop of the spawner and what it knows of its templates."""

    def __init__(self, end: socket.socket, directory: str) -> None:
        self._end = end
        self._directory = directory
        self._templates: dict[int, str] = {}  # pid -> key
        self._removing: set[int] = set()
        self._doorbell = control.Doorbell(end)

    def serve(self) -> None:
        control.send(self._end, ["up"])
        while True:
            has_message = self._doorbell.wait()
            self._reap()
            if has_message:
                received = control.receive(self._end)
                if received is None:
                    return
                message, fds = received
                if message[0] == "template":
                    self._fork_template(message[1], message[2:], fds)
                else:
                    self._remove(message[1])

    def _fork_template(self, key: str, setting: list[Any], fds: list[int]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._doorbell.leave_in_child()
            template_main(socket.socket(fileno=fds[0]), Setting(*setting), parent)
        control.close_all(fds)
        self._templates[pid] = key

    def _remove(self, path: str) -> None:
        # In a child: a large tree takes long, and the node must not wait for its next template.
        pid = os.fork()
        if pid == 0:
            self._doorbell.leave_in_child()
            shutil.rmtree(path, ignore_errors=True)
            os._exit(0)
        self._removing.add(pid)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            key = self._templates.pop(pid, None)
            if key is not None:
                self._end_orphans()
                control.send(self._end, ["exited", key, status])
            self._removing.discard(pid)

    def _end_orphans(self) -> None:
        kill_descendants(os.getpid(), frozenset(self._templates) | frozenset(self._removing))

    def finish(self) -> None:
        kill_descendants(os.getpid())
        shutil.rmtree(self._directory, ignore_errors=True)


def main() -> None:
    end = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(end.fileno(), False)
    adopt_orphans()
    os.umask(0o077)
    # Jobs get the default of SIGINT from their worker; here Ctrl-C on a terminal means nothing.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spawner = Spawner(end, sys.argv[2])
    with contextlib.suppress(ConnectionError):
        spawner.serve()
    spawner.finish()


if __name__ == "__main__":
    main()
