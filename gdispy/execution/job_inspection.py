"""What a running job does, for `job.explain()` and `job.stack()`: its processes, its last output, its Python stacks.

Used in greenlets of the node. The stacks are written by `faulthandler` in a signal handler, so a job that computes in
C, or waits in a system call, is seen too. A job that waits in a call of C code which the signal would end early is left
alone (`system_calls.py`), so nothing is known of its stack.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import gevent

from gdispy.execution.system_calls import interruptible_wait
from gdispy.execution.worker_channel import WorkerChannel
from gdispy.protocol.limits import shortened
from gdispy.worker.process_tree import descendants, is_stopped, processor_seconds, tree_bytes
from gdispy.worker.shared_page import LIVE

#: Seconds that a worker has to write its stacks, and between two looks for them.
STACK_LIMIT = 1.0
STACK_INTERVAL = 0.01
#: Bytes of the end of each output stream, lines of it, and characters of the stacks that are shown.
OUTPUT_BYTES = 4096
OUTPUT_LINES = 5
STACK_TEXT = 8000

_FRAME = re.compile(r'^  File "(.*)", line \d+ in ', re.MULTILINE)
#: Files of the worker, and the program with which the spawner was started.
_OWN = (os.path.join("gdispy", "worker", ""), "<string>")


def inspect(worker: WorkerChannel, ask: Callable[[], None]) -> list[str]:
    """Keys and values in turn, as in `Explained`. `ask` sends the signals on which the worker writes its stacks, and
    the output that Python has buffered."""
    facts: list[str] = []
    wait = interruptible_wait(worker.pid) if worker.pid else ""
    stack = _stack(worker, ask) if not wait else ""
    if worker.pid:
        tree = [worker.pid, *descendants(worker.pid)]
        facts += ["process", f"{worker.pid}" + (f" and {len(tree) - 1} below it" if len(tree) > 1 else "")]
        facts += ["CPU time", f"{sum(map(processor_seconds, tree)):.1f} s in this process, all its jobs included"]
        facts += ["memory", f"{tree_bytes(tree) / (1 << 20):,.1f} MiB, without what all workers share"]
    for key, fd in (("last output", worker.output.out), ("last errors", worker.output.err)):
        lines = _last_lines(fd)
        if lines:
            facts += [key, lines]
    if _FRAME.search(stack):
        return [*facts, "stack", stack]
    if wait:
        return [*facts, "no stack", f"it waits in {wait}, which the signal for a stack would end early"]
    return [*facts, "no stack", _why_none(worker.pid, bool(stack))]


def _last_lines(fd: int) -> str:
    size = os.fstat(fd).st_size
    data = os.pread(fd, OUTPUT_BYTES, max(0, size - OUTPUT_BYTES)).replace(b"\0", b"")
    return "\n".join(data.decode("utf-8", "replace").splitlines()[-OUTPUT_LINES:])


def _stack(worker: WorkerChannel, ask: Callable[[], None]) -> str:
    fd = worker.output.stacks
    os.ftruncate(fd, 0)
    worker.page.words[LIVE] = 1
    ask()
    size, waited = 0, 0.0
    while waited < STACK_LIMIT:
        gevent.sleep(STACK_INTERVAL)
        waited += STACK_INTERVAL
        before, size = size, os.fstat(fd).st_size
        if size and size == before:
            break
    text = os.pread(fd, size, 0).decode("utf-8", "replace")
    threads = "\n".join(line for line in text.splitlines() if not _is_own(line)).strip().split("\n\n")
    # That of the job first: there may be hundreds.
    threads.sort(key=lambda each: not each.startswith("Current thread"))
    return shortened("\n\n".join(threads), STACK_TEXT)


def _why_none(pid: int, has_answered: bool) -> str:
    """Why there is no Python stack of the job."""
    if has_answered:
        return "no Python function of the job is running: it is a program, or just begins or ends"
    if pid and is_stopped(pid):
        return "its process is stopped (SIGSTOP)"
    return "its process does not answer: it blocks, ignores or handles SIGWINCH, or waits where no signal reaches it"


def _is_own(line: str) -> bool:
    """Whether it is a frame of the worker, below those of the job."""
    frame = _FRAME.match(line)
    return frame is not None and any(each in frame[1] for each in _OWN)
