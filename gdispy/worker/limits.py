"""Limits of jobs: memory, processes and CPU time of a process tree, sizes of files; and the replacement of workers.

Standard library. The template checks the trees of its workers (`excess`, `overtime`); a worker enforces its own limits
(`OwnLimits`). CPU time is that of a job and not of its worker, which may have run others before: with a limit, the
worker records in its page the CPU time used at the start of the job, and the template reads that.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gdispy.worker.originals import os, resource
from gdispy.worker.process_tree import processor_seconds, resident_bytes, tree_bytes

#: Job, attempt, seconds its worker had used before, limit in seconds, whether the job has set the limit.
_MARK = struct.Struct("<QIdd?")
#: Its offset in the worker's page, after the node's fields.
_MARK_PLACE = 64
_NO_MARK = bytes(_MARK.size)


@dataclass(frozen=True)
class Limits:
    """The limits of the node's owner; 0 is no limit."""

    #: Resident memory of one job with all its processes, in bytes, and the number of its processes.
    memory: int = 0
    processes: int = 0
    #: CPU time of one job with all its processes, in seconds.
    processor: float = 0.0
    #: Size of one file that a job writes.
    file: int = 0
    #: Jobs, and memory growth in bytes, after which a worker is replaced.
    jobs: int = 0
    growth: int = 0

    def excess(self, tree: list[int]) -> str:
        """The limit that a worker's process tree exceeds, or ''."""
        if self.processes and len(tree) > self.processes:
            return f"it had {len(tree)} processes, and the limit of this node is {self.processes}"
        if self.memory:
            used = tree_bytes(tree)
            if used > self.memory:
                return f"it used {used:,} bytes of memory, and the limit of this node is {self.memory:,}"
        return ""


def overtime(page: mmap.mmap, tree: list[int]) -> str:
    """The reason why the job in a worker has used too much CPU time, or ''.

    In that case the worker, the first of the tree, is left stopped, so that it cannot start another job.
    """
    mark = page[_MARK_PLACE : _MARK_PLACE + _MARK.size]
    _, _, before, limit, is_own = _MARK.unpack(mark)
    if not limit:
        return ""
    used = sum(map(processor_seconds, tree)) - before
    if used <= limit:
        return ""
    with contextlib.suppress(ProcessLookupError):
        os.kill(tree[0], signal.SIGSTOP)
        if page[_MARK_PLACE : _MARK_PLACE + _MARK.size] != mark:
            os.kill(tree[0], signal.SIGCONT)
            return ""
    whose = "its limit (dispy_cpu_time)" if is_own else "the limit of this node"
    return f"it used {used:.1f} s of CPU time, and {whose} is {limit:g} s"


class OwnLimits:
    """A worker's enforcement of its limits."""

    def __init__(self, limits: Limits, page: mmap.mmap) -> None:
        self._limits = limits
        self._page = page
        self.has_file_limit = bool(limits.file)
        #: Whether `begin`, for jobs without options, and `is_used_up` need not be called at all.
        self.are_none = not (limits.processor or limits.jobs or limits.growth)
        self._jobs = 0
        self._size = resident_bytes(os.getpid()) if limits.growth else 0
        if limits.file:
            _set_file_limit(limits.file)

    def begin(self, job: int, attempt: int, own: float) -> bool:
        """A job starts, with this limit of CPU time; returns whether `end` must be called."""
        self._jobs += 1
        limit = self._limits.processor
        if not own and not limit:
            return False
        is_own = bool(own) and (not limit or own < limit)
        used = sum(os.times()[:4])
        mark = _MARK.pack(job, attempt, used, own if is_own else limit, is_own)
        self._page[_MARK_PLACE : _MARK_PLACE + _MARK.size] = mark
        return True

    def end(self) -> None:
        self._page[_MARK_PLACE : _MARK_PLACE + _MARK.size] = _NO_MARK

    def is_used_up(self) -> bool:
        """Whether a new worker should run the next job."""
        limits = self._limits
        if limits.jobs and self._jobs >= limits.jobs:
            return True
        return bool(limits.growth) and resident_bytes(os.getpid()) - self._size > limits.growth

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """The worker's own writes to memory files are not files of the job."""
        if not self._limits.file:
            yield
            return
        _set_file_limit(0)
        try:
            yield
        finally:
            _set_file_limit(self._limits.file)

    def note(self, error: BaseException | None, number: int = 0) -> str:
        """An addition for a job that ended because of a limit that only the kernel enforces."""
        is_file = number == signal.SIGXFSZ or (isinstance(error, OSError) and error.errno == errno.EFBIG)
        if not is_file or not self._limits.file:
            return ""
        return f"The limit for files of a job on this node is {self._limits.file:,} bytes (--job_file_size).\n"


def _set_file_limit(size: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size and most != resource.RLIM_INFINITY:
        size = min(size, most)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size or most, most))


def no_core_dumps() -> None:
    """A job that crashes leaves no core file; it may enable them."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def limit_open_files(count: int) -> None:
    """Jobs may open this many files, and may raise that to the hard limit: `select` does not support more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, most))
