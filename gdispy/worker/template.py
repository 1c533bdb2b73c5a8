"""The template process of one computation: loads it once, then forks the workers that run its jobs.

Floor 1. Forked from the spawner; one thread. What is loaded here is shared with all workers without
copying. It obeys the node over a local socket:

  node -> template   [load, kind, name]              with the body as a file
                     [fork, worker]                  with the worker's five descriptors
                     [signal, worker, number, whole] whole: the worker's process group
                     [end, worker]                   kill the worker and all below it
  template -> node   [loaded, error]                 error '' where all went well
                     [forked, worker, pid] · [exited, worker, status, cause]

Invariants: a worker is reaped here and nowhere else, so its exit status is never lost, and a signal
never goes to a process that only has the number of a dead worker. When a worker has ended, nothing
that it started is left. When the node's end closes, all workers end, then the template.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import sys
import time
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gdispy.worker import control, names, pickling
from gdispy.worker.processes import (
    adopt_orphans,
    descendants,
    die_with_parent,
    kill_descendants,
    resident_bytes,
)
from gdispy.worker.program import run_program
from gdispy.worker.runner import Run, Worker, call_function

#: Seconds between two looks at the sizes of the workers' process trees.
WATCH_INTERVAL = 1.0


@dataclass(frozen=True)
class Setting:
    """What the spawner tells a template about its computation."""

    directory: str
    node_name: str
    address: str
    #: Bytes of resident memory of one job with all its processes; 0 is no limit.
    memory_limit: int
    #: Processes of one job at the same time.
    process_limit: int


def main(end: socket.socket, setting: Setting, parent: int) -> None:
    """Run the template in a process just forked; does not return."""
    code = 0
    try:
        die_with_parent(parent)
        adopt_orphans()
        os.setsid()
        template = Template(end, setting)
        with contextlib.suppress(ConnectionError):  # The node has let go of it meanwhile.
            code = template.serve()
    except BaseException:
        code = 1
        traceback.print_exc()
    finally:
        kill_descendants(os.getpid())
        os._exit(code)


class Template:
    """The loop of the template and what it knows of its workers."""

    def __init__(self, end: socket.socket, setting: Setting) -> None:
        self._end = end
        self._setting = setting
        self._run: Run | None = None
        self._workers: dict[int, int] = {}  # worker -> pid
        self._causes: dict[int, str] = {}  # worker -> why it was killed here
        #: Processes that loading the computation left on purpose.
        self._own: frozenset[int] = frozenset()
        self._next_watch = 0.0
        self._doorbell = control.Doorbell(end)
        os.makedirs(setting.directory, exist_ok=True)
        os.chdir(setting.directory)

    def serve(self) -> int:
        while True:
            has_message = self._doorbell.wait(WATCH_INTERVAL if self._workers else None)
            self._reap()
            if has_message:
                received = control.receive(self._end)
                if received is None:
                    return 0
                self._obey(*received)
            self._watch()

    def _obey(self, message: list[Any], fds: list[int]) -> None:
        word, *rest = message
        handlers: dict[str, Callable[..., None]] = {
            "load": self._load,
            "fork": self._fork,
            "signal": self._signal,
            "end": self._end_worker,
        }
        handlers[word](*rest, *([fds] if fds else []))

    def _load(self, kind: str, name: str, fds: list[int]) -> None:
        try:
            self._run = self._loaded(kind, name, fds[0])
            error = ""
        except BaseException as failure:
            error = f"{name} cannot be loaded on {self._setting.node_name}: " + "".join(
                traceback.format_exception_only(type(failure), failure)
            )
        control.close_all(fds)
        self._own = frozenset(descendants(os.getpid()))
        control.send(self._end, ["loaded", error[: control.LIMIT // 2]])

    def _loaded(self, kind: str, name: str, fd: int) -> Run:
        setting = self._setting
        names.provide(setting.node_name, setting.address, setting.directory)
        sys.path.insert(0, setting.directory)
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        main.__dict__["__builtins__"] = __builtins__
        if kind == "program":
            return run_program(os.path.join(setting.directory, name))
        with mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE) as body:
            function, given = pickling.loads(bytes(body))
        for key, value in given.items():
            setattr(sys.modules["builtins"], key, value)
            setattr(main, key, value)
        return call_function(function)

    def _fork(self, worker: int, fds: list[int]) -> None:
        parent = os.getpid()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._become_worker(parent, fds)
        control.close_all(fds)
        self._workers[worker] = pid
        control.send(self._end, ["forked", worker, pid])

    def _become_worker(self, parent: int, fds: list[int]) -> None:
        try:
            die_with_parent(parent)
            adopt_orphans()
            os.setsid()
            self._doorbell.leave_in_child()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            assert self._run is not None
            _shoot_me_first()
            Worker(fds, self._run, self._setting.directory).serve()
            kill_descendants(os.getpid())
        except BaseException:
            traceback.print_exc()
            os._exit(70)
        os._exit(0)

    def _signal(self, worker: int, number: int, whole: bool) -> None:
        pid = self._workers.get(worker)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if whole else os.kill)(pid, number)

    def _end_worker(self, worker: int) -> None:
        pid = self._workers.get(worker)
        if pid is not None:
            self._kill(pid)

    def _kill(self, pid: int) -> None:
        # What is below goes first: once its parent is dead, it is no longer found below it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        kill_descendants(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        ended: list[tuple[int, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            ended.append((pid, status))
        if not ended:
            return
        pids = {pid: worker for worker, pid in self._workers.items()}
        # Orphans of a dead worker have become children of this process.
        kill_descendants(os.getpid(), frozenset(pids) - {pid for pid, _ in ended} | self._own)
        for pid, status in ended:
            worker = pids.get(pid)
            if worker is not None:
                del self._workers[worker]
                cause = self._causes.pop(worker, "")
                control.send(self._end, ["exited", worker, status, cause])

    def _watch(self) -> None:
        """Hold every job's process tree to the limits."""
        now = time.monotonic()
        if now < self._next_watch or not self._workers:
            return
        self._next_watch = now + WATCH_INTERVAL
        for worker, pid in self._workers.items():
            tree = [pid, *descendants(pid)]
            cause = self._excess(tree)
            if cause:
                self._causes.setdefault(worker, cause)
                self._kill(pid)

    def _excess(self, tree: list[int]) -> str:
        limit = self._setting.process_limit
        if limit and len(tree) > limit:
            return f"it had {len(tree)} processes, and the limit of this node is {limit}"
        limit = self._setting.memory_limit
        if limit:
            used = sum(map(resident_bytes, tree))
            if used > limit:
                return f"it used {used:,} bytes of memory, and the limit of this node is {limit:,}"
        return ""


def _shoot_me_first() -> None:
    """Have the kernel, when memory runs out, kill a job rather than the node."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
