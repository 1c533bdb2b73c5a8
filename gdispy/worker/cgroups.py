"""Control groups of Linux (cgroup v2), if a node may create them: kernel limits for each worker.

Standard library. The spawner checks once whether it may (`Groups.find`); each worker enters a new group before it takes
a job, and its template removes that when the worker has ended.

    OWN/                    the group that the node was started in, if nobody else is in it and it may be written to
      gdispy-node/          node, spawner and templates: a group whose groups have limits holds no process itself
      gdispy-worker-PID/    a worker and all that it starts

Containers and systemd units with `Delegate=yes` allow that. Elsewhere nothing is done, and the periodic checks of
process trees (`limits.py`, `process_tree.py`) have to suffice, which detect a fast-growing job later. Invariant:
nothing here keeps a job from running; limits that cannot be set are skipped."""

from __future__ import annotations

import contextlib
import os
import time

from gdispy.worker.limits import Limits

_NODE, _WORKER = "gdispy-node", "gdispy-worker-"
_CONTROLLERS = ("memory", "pids")
#: Processes above the limit that the kernel still allows, so that the template detects them and names the limit.
_SPARE_PROCESSES = 16
#: Maximum number of attempts to remove a group whose last processes are being killed.
_ROUNDS = 200


class Groups:
    """The groups of one node's workers, below `path`."""

    def __init__(self, path: str) -> None:
        self._path = path

    @classmethod
    def find(cls, members: frozenset[int]) -> Groups | None:
        """The groups that the node may use, with its own processes; None if there are none."""
        own = _own_group()
        if own is None:
            return None
        if os.path.basename(own) == _NODE:  # The previous spawner has done it.
            own = os.path.dirname(own)
        elif not _processes(own) or not _processes(own) <= members:
            return None
        groups = cls(own)
        return groups if groups._prepare() else None

    def _prepare(self) -> bool:
        home = os.path.join(self._path, _NODE)
        try:
            os.makedirs(home, exist_ok=True)
            for pid in _processes(self._path):
                _write(home, "cgroup.procs", str(pid))
            with open(os.path.join(self._path, "cgroup.controllers")) as file:
                there = file.read().split()
        except OSError:
            return False
        for controller in _CONTROLLERS:
            if controller in there:
                _try_to_write(self._path, "cgroup.subtree_control", f"+{controller}")
        for path in self._workers():  # Remains of a previous run.
            self._end(path)
        return True

    def _workers(self) -> list[str]:
        return [os.path.join(self._path, name) for name in os.listdir(self._path) if name.startswith(_WORKER)]

    def sweep(self) -> None:
        """Remove empty groups: workers that ended with their template left theirs."""
        for path in self._workers():
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def enter(self, limits: Limits) -> None:
        """Move the calling process, which is a worker, into a new group."""
        path = self._of(os.getpid())
        with contextlib.suppress(OSError):
            os.mkdir(path)
            if limits.memory:
                _try_to_write(path, "memory.oom.group", "1")
                _try_to_write(path, "memory.swap.max", "0")
                _try_to_write(path, "memory.max", str(limits.memory))
            if limits.processes:
                _try_to_write(path, "pids.max", str(limits.processes + _SPARE_PROCESSES))
            _write(path, "cgroup.procs", str(os.getpid()))

    def kill(self, pid: int) -> None:
        """Kill a worker and all its descendants."""
        _try_to_write(self._of(pid), "cgroup.kill", "1")

    def end(self, pid: int, limits: Limits) -> str:
        """A worker has ended: remove its group and remaining processes; returns the reason if the kernel has killed
        it."""
        path = self._of(pid)
        cause = ""
        if limits.memory and _count(path, "memory.events", "oom_kill"):
            cause = f"it used more than {limits.memory:,} bytes of memory, the limit of this node"
        self._end(path)
        return cause

    def _end(self, path: str) -> None:
        _try_to_write(path, "cgroup.kill", "1")
        for _ in range(_ROUNDS):
            try:
                os.rmdir(path)
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.001)
            else:
                return

    def _of(self, pid: int) -> str:
        return os.path.join(self._path, f"{_WORKER}{pid}")


def _own_group() -> str | None:
    """The directory of the calling process's group, if it is of version 2 and writable."""
    try:
        with open("/proc/self/cgroup") as file:
            (name,) = [line[3:].rstrip("\n") for line in file if line.startswith("0::")]
        with open("/proc/self/mountinfo") as file:
            mounts = [line.split() for line in file if " - cgroup2 " in line]
    except (OSError, ValueError):
        return None
    for fields in mounts:
        root, mount = fields[3].rstrip("/"), fields[4]
        if name == root or name.startswith(f"{root}/"):
            path = f"{mount}{name[len(root) :]}".rstrip("/")
            may_write = os.access(path, os.W_OK) and os.access(os.path.join(path, "cgroup.procs"), os.W_OK)
            return path if may_write and _is_given(path) else None
    return None


def _is_given(path: str) -> bool:
    """Whether the group is this node's to divide. Under systemd, root may write to all groups, and a mark tells."""
    if not os.path.isdir("/run/systemd/system"):
        return True
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    return False


def _processes(path: str) -> set[int]:
    try:
        with open(os.path.join(path, "cgroup.procs")) as file:
            return set(map(int, file.read().split()))
    except (OSError, ValueError):
        return set()


def _count(path: str, name: str, word: str) -> int:
    try:
        with open(os.path.join(path, name)) as file:
            return sum(int(line.split()[1]) for line in file if line.split()[0] == word)
    except (OSError, ValueError, IndexError):
        return 0


def _write(path: str, name: str, value: str) -> None:
    with open(os.path.join(path, name), "w") as file:
        file.write(value)


def _try_to_write(path: str, name: str, value: str) -> None:
    with contextlib.suppress(OSError):
        _write(path, name, value)
