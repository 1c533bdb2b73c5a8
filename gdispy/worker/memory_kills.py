"""Whether the kernel has killed a process of a job because memory ran out.

Standard library. The kernel counts such kills in `/proc/vmstat` (`oom_kill`, since Linux 4.13; see proc_vmstat(5)),
also those by the limit of a control group. The count is of the whole machine, so it is compared with the one before: it
rises before the killed process can be waited for.
"""

from __future__ import annotations

import builtins
import signal
import time

from gdispy.protocol.texts import KILLED_BY_KERNEL
from gdispy.worker.originals import os

#: Seconds between two reads of the count.
LOOK_INTERVAL = 1.0
_MIB = 1024 * 1024


class MemoryKills:
    """Tells kills for lack of memory from others."""

    def __init__(self) -> None:
        self._seen, self._seen_at = kills(), time.monotonic()

    def begin(self) -> None:
        """A process starts: kills before it do not concern it. Reading the count takes as long as starting a short
        program, so it may be a second old."""
        if time.monotonic() > self._seen_at + LOOK_INTERVAL:
            self._seen, self._seen_at = kills(), time.monotonic()

    def explain(self, status: int, peak: int) -> str:
        """Why a process with this wait status was killed by SIGKILL, '' for any other end. `peak` is the most memory
        that it has used, in KiB as in `rusage`."""
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            return ""
        seen, self._seen, self._seen_at = self._seen, kills(), time.monotonic()
        used = f"it had used up to {peak * 1024 // _MIB:,} MiB; the machine has {machine_bytes() // _MIB:,} MiB"
        if seen is None or self._seen is None:
            return f"by another process, or {KILLED_BY_KERNEL} ({used})"
        if self._seen > seen:
            return f"{KILLED_BY_KERNEL} ({used})"
        return f"by another process ({used})"


def kills() -> int | None:
    """How many processes the kernel has killed for lack of memory; None if it does not tell."""
    try:
        with builtins.open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), None)
    except (OSError, ValueError, IndexError):
        return None


def machine_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
