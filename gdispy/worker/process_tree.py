"""Control of processes with kernel functions: death signals, sub-reaping, killing a whole tree.

Standard library. In processes with a single thread: the death signal of a process follows the thread that created it.
If the kernel lacks a function (other systems than Linux), the functions do what they can: process groups remain.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import signal
import sys
from collections.abc import Callable
from time import sleep

from gdispy.worker.originals import os

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2

_libc: ctypes.CDLL | None = None
_waitid: Callable[[int, int, None, int], int] | None = None
with contextlib.suppress(OSError, AttributeError):
    _libc = ctypes.CDLL(None)
    # It returns immediately, so the GIL is kept.
    _waitid = ctypes.PyDLL(None).waitid

#: Of `waitid`: any child, and only whether there is one.
_ALL, _LOOK = (os.P_ALL, os.WEXITED | os.WNOHANG | os.WNOWAIT) if hasattr(os, "waitid") else (0, 0)

#: Maximum number of rounds of killing a tree: each round finds processes forked meanwhile.
_ROUNDS = 2000
#: The same when all processes of the machine are checked.
_SWEEPS = 100


def has_children() -> bool:
    """Whether the calling process has children, living or dead, that were not waited for."""
    # Through the C library: Python's function raises an exception without children, and a worker calls it after each
    # job.
    return _waitid is not None and _waitid(_ALL, 0, None, _LOOK) == 0


def keeps_processes() -> bool:
    """Whether a library in this process has objects of child processes, as pools of processes have."""
    return bool(getattr(sys.modules.get("multiprocessing.process"), "_children", None))


def flush_c_output() -> None:
    """Flush output of C code in buffers of the C library."""
    if _libc is not None:
        _libc.fflush(None)


def free_memory(fd: int, offset: int, length: int) -> None:
    """Punch a hole into a memory file: its length stays, the pages in between are freed."""
    if _libc is not None and sys.platform == "linux" and length > 0:
        mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
        _libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length))


def die_with_parent(parent: int) -> None:
    """Request SIGKILL for the death of the parent, process `parent`; exit if it is dead already."""
    if _libc is not None and sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (not inherited by children)."""
    if _libc is not None and sys.platform == "linux":
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[int]:
    """The live and dead-but-unreaped children of a process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), builtins.open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, parents before their children."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def interrupt(program: int) -> None:
    """What Ctrl-C in a terminal does: SIGINT for a program and all processes that it has started. A program that
    ignores it gets SIGTERM instead."""
    for pid in descendants(program):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGINT)
    with contextlib.suppress(ProcessLookupError):
        os.kill(program, signal.SIGTERM if _ignores_interrupts(program) else signal.SIGINT)


def _ignores_interrupts(pid: int) -> bool:
    try:
        with builtins.open(f"/proc/{pid}/status") as file:
            ignored = next((line.split()[1] for line in file if line.startswith("SigIgn:")), "0")
    except OSError:
        return False
    return bool(int(ignored, 16) >> (signal.SIGINT - 1) & 1)


def is_below(pid: int, ancestor: int) -> bool:
    """Whether a living process is a descendant of `ancestor`."""
    while pid > 1:
        fields = _fields(pid)
        if not fields:
            return False
        pid = int(fields[1])
        if pid == ancestor:
            return True
    return False


def kill_descendants(pid: int, spare: frozenset[int] = frozenset()) -> bool:
    """SIGKILL all processes below `pid`, and those they fork meanwhile; except those below `spare`. Returns whether
    there were any.

    For the calling process itself (`pid` is its own) they are reaped as well.
    """
    own, were_any = pid == os.getpid(), False
    for _ in range(_ROUNDS):
        living = [child for child in children(pid) if child not in spare]
        below = [each for child in living for each in (child, *descendants(child))]
        below = [each for each in below if not _is_zombie(each)]
        for each in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        if own:
            _reap(living)
        if not below:
            break
        were_any = True
        sleep(0.001)
    return were_any


def _fields(pid: int) -> list[bytes]:
    """What /proc/PID/stat has after the name of the program, from the state on; [] when the process is gone."""
    try:
        with builtins.open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _is_zombie(pid: int) -> bool:
    fields = _fields(pid)
    return not fields or fields[0] in (b"Z", b"X")


def _reap(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def resident_bytes(pid: int) -> int:
    """Resident memory of one process, without pages shared with others; 0 when it is gone."""
    try:
        with builtins.open(f"/proc/{pid}/statm") as file:
            _, resident, shared = map(int, file.read().split()[:3])
    except OSError:
        return 0
    return (resident - shared) * os.sysconf("SC_PAGESIZE")


def tree_bytes(tree: list[int]) -> int:
    """Resident memory of a process and of those below it, without the memory inherited by forking: data of setup exists
    once, and not again in each worker and in each process that a job forks."""
    parent, image = _origin(tree[0])
    inherited = resident_bytes(parent)
    total = 0
    for pid in tree:
        is_forked = pid == tree[0] or (image != 0 and _origin(pid)[1] == image)
        total += max(0, resident_bytes(pid) - (inherited if is_forked else 0))
    return total


def _origin(pid: int) -> tuple[int, int]:
    """The parent of a process, and the address of its stack, which changes with each exec; 0 if that is not known."""
    fields = _fields(pid)
    return (int(fields[1]), int(fields[25])) if fields else (0, 0)


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped a process."""
    fields = _fields(pid)
    return bool(fields) and fields[0] in (b"T", b"t")


def processor_seconds(pid: int) -> float:
    """CPU time of one process and of its children that it has waited for; 0 when it is gone."""
    return sum(map(int, _fields(pid)[11:15])) / os.sysconf("SC_CLK_TCK")


def began(pid: int) -> int:
    """Start time of a process, in ticks since boot: with its pid, it identifies the process. 0 if there is none."""
    fields = _fields(pid)
    return 0 if not fields or fields[0] in (b"Z", b"X") else int(fields[19])


def end_marked(name: str, value: str) -> None:
    """SIGKILL all own processes whose environment holds `name` with this value, and those below them."""
    for _ in range(_SWEEPS):
        if not [pid for pid in _processes() if _end_if_marked(pid, f"{name}={value}".encode())]:
            return
        sleep(0.001)


def _processes() -> list[int]:
    entries = os.listdir("/proc") if os.path.isdir("/proc") else []
    return [int(entry) for entry in entries if entry.isdigit() and int(entry) != os.getpid()]


def _end_if_marked(pid: int, marker: bytes) -> bool:
    """Whether a process should be killed."""
    if not _has_marker(pid, marker):
        return False
    try:
        # It is stopped before it is checked again: its pid may be reused meanwhile.
        held = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not _has_marker(pid, marker) or _is_zombie(pid):
            return False
        kill_descendants(pid)
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _has_marker(pid: int, marker: bytes) -> bool:
    try:
        with builtins.open(f"/proc/{pid}/environ", "rb") as file:
            return marker in file.read().split(b"\0")
    except OSError:
        return False


def signal_name(number: int) -> str:
    """A signal for people: its number and name."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
