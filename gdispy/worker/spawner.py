"""The spawner: the process that creates all processes of a node. `... gdispy.worker.spawner FD DIRECTORY INIT FILES`

Plain Python with one thread and no gevent, started by the node with exec. It forks a template for each computation and
reaps every process below. It follows commands of the node:

  node -> spawner   [template, key, setting...]  with the template's end of its control socket
                    [remove, path]               delete a directory tree
  spawner -> node   [up] or [failed, reason], once · [exited, key, status]

Invariant: when the node has ended (end of file), everything below is killed, the node's directory is removed, and this
process exits. So SIGKILL of a node leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import warnings
from typing import Any

import dill  # noqa: F401  (loaded once here, shared by all that is forked)

from gdispy.protocol.limits import shortened
from gdispy.worker import control, injected_names, pickling  # noqa: F401
from gdispy.worker.cgroups import Groups
from gdispy.worker.init_file import Startup
from gdispy.worker.limits import Limits, limit_open_files, no_core_dumps
from gdispy.worker.process_tree import adopt_orphans, children, kill_descendants
from gdispy.worker.template import JobSettings, TemplateSettings
from gdispy.worker.template import main as template_main
from gdispy.worker.trees import remove_tree


class Spawner:
    """The loop of the spawner and the state of its templates."""

    def __init__(self, end: socket.socket, directory: str, startup: Startup) -> None:
        self._end = end
        self._directory = directory
        self._startup = startup
        #: Processes that its `init()` has started.
        self._own: frozenset[int] = frozenset()
        self._templates: dict[int, str] = {}  # pid -> key
        self._removing: set[int] = set()
        self._groups = Groups.find(frozenset((os.getpid(), os.getppid())))
        self._waiter = control.EventWaiter(end)

    def serve(self) -> None:
        failure = self._startup.run()
        self._own = frozenset(children(os.getpid()))
        if failure:
            control.send(self._end, ["failed", shortened(failure, control.TEXT_LIMIT)])
            return
        _outlive_signals()
        control.send(self._end, ["up"])
        while True:
            has_message = self._waiter.wait()
            self._reap()
            if has_message:
                received = control.receive(self._end)
                if received is None:
                    return
                message, fds = received
                if message[0] == "template":
                    self._fork_template(message[1], message[2:], fds)
                elif message[0] == "end":
                    self._end_template(message[1])
                else:
                    self._remove(message[1])

    def _fork_template(self, key: str, setting: list[Any], fds: list[int]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._waiter.leave_in_child()
            directory, name, address, client_shutdown, *jobs, limits = setting
            where = (directory, name, address, client_shutdown)
            about = TemplateSettings(*where, JobSettings(*jobs), Limits(*limits), self._groups, self._startup.exported)
            template_main(socket.socket(fileno=fds[0]), about, parent)
        control.close_all(fds)
        self._templates[pid] = key

    def _end_template(self, key: str) -> None:
        """End an unresponsive template, with all below it."""
        for pid, known in self._templates.items():
            if known == key:
                kill_descendants(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _remove(self, path: str) -> None:
        # In a child process: removing a large tree is slow, and the node must not wait for its next template.
        pid = os.fork()
        if pid == 0:
            self._waiter.leave_in_child()
            remove_tree(path)
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
                if self._groups is not None:
                    self._groups.sweep()
                control.send(self._end, ["exited", key, status])
            self._removing.discard(pid)

    def _end_orphans(self) -> None:
        kill_descendants(os.getpid(), frozenset(self._templates) | frozenset(self._removing) | self._own)

    def finish(self) -> None:
        kill_descendants(os.getpid(), self._own)
        self._startup.close()
        kill_descendants(os.getpid())
        if self._groups is not None:
            self._groups.sweep()
        remove_tree(self._directory)


def _outlive_signals() -> None:
    """Signals sent to all processes of a node, for example by a batch system, are handled by the node: it still needs
    this one to stop in order. Handlers, unlike ignored signals, are reset in programs that are started."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


def main() -> None:
    end = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(end.fileno(), False)
    adopt_orphans()
    os.umask(0o077)
    no_core_dumps()
    limit_open_files(int(sys.argv[4]))
    # Setup may leave threads, which is reported to the user.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    # Workers restore the default of SIGINT for jobs; here Ctrl-C on a terminal has no effect.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spawner = Spawner(end, sys.argv[2], Startup(sys.argv[3]))
    with contextlib.suppress(ConnectionError):
        spawner.serve()
    spawner.finish()
    sys.stdout.flush()
    os._exit(0)  # Open sockets are closed at exit, without a warning.


if __name__ == "__main__":
    main()
