"""What a running job does, for `job.explain()` and `job.stack()`: its processes, its last output, its Python stacks.

Used in greenlets of the node. The stack of the job's own thread is written by `faulthandler` in a signal handler, so a
job that computes in C, or waits in a system call, is seen too; other threads (`worker/stacks.py`) are not seen then. A
job that waits in a call of C code which the signal would end early is left alone (`system_calls.py`), so nothing is
known of its stack.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

import gevent

from gdispy.buffers.native import signal_main_thread
from gdispy.execution.system_calls import interruptible_wait, threads_with_blocked
from gdispy.execution.worker_channel import WorkerChannel
from gdispy.protocol.limits import shortened
from gdispy.worker.process_tree import descendants, is_stopped, processor_seconds, tree_bytes
from gdispy.worker.shared_page import ALL_STACKS, LIVE, THREAD

#: Seconds that a worker has to begin to write its stacks, and to end; and between two looks for them.
STACK_LIMIT = 1.0
WRITE_LIMIT = 5.0
#: Seconds that its own thread has to begin to write those of all threads: while it computes in C, it cannot.
ALL_LIMIT = 0.3
STACK_INTERVAL = 0.01
#: Bytes of the end of each output stream, lines of it, and characters of the stacks that are shown.
OUTPUT_BYTES = 4096
OUTPUT_LINES = 5
STACK_TEXT = 8000

_FRAME = re.compile(r'^  File "(.*)", line \d+ in ', re.MULTILINE)
#: Files of the worker, and the program with which the spawner was started.
_OWN = (os.path.join("gdispy", "worker", ""), "<string>")
#: How the stack of a thread begins.
_THREAD = re.compile(r"(?:Current thread|Thread) 0x([0-9a-f]+) ")
_OTHERS_NOT_SHOWN = "Other threads are not shown: the job's own thread executes no Python code at present."


def inspect(worker: WorkerChannel, send: Callable[[int], None]) -> list[str]:
    """Keys and values in turn, as in `Explained`. `send` sends a signal to the worker."""
    facts: list[str] = []
    wait = interruptible_wait(worker.pid) if worker.pid else ""
    stack = _stack(worker, send) if not wait else ""
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


def _stack(worker: WorkerChannel, send: Callable[[int], None]) -> str:
    """The stacks of the worker's threads, first that of the job."""
    os.ftruncate(worker.output.stacks, 0)
    words = worker.page.words
    words[LIVE] = 1
    blocking = threads_with_blocked(worker.pid, signal.SIGWINCH)
    if not signal_main_thread(worker.pid, signal.SIGWINCH):
        send(signal.SIGWINCH)
    own = _written(worker, 0, lambda: threads_with_blocked(worker.pid, signal.SIGWINCH) <= blocking, STACK_LIMIT)
    begin = os.fstat(worker.output.stacks).st_size
    words[ALL_STACKS] = 1
    send(signal.SIGURG)  # The worker prints what Python has buffered, and writes the stacks of all threads.
    text = _written(worker, begin, lambda: not words[ALL_STACKS], ALL_LIMIT)
    words[ALL_STACKS] = 0
    threads = ordered(text, words[THREAD]) if text else []
    if not threads or not _is_of(threads[0], words[THREAD]):
        threads.insert(0, _without_own(own))
    if not text and _FRAME.search(own):
        threads.append(_OTHERS_NOT_SHOWN)
    return shortened("\n\n".join(filter(None, threads)), STACK_TEXT)


def _written(worker: WorkerChannel, begin: int, has_ended: Callable[[], bool], limit: float) -> str:
    """What the worker writes after this place of its file of stacks, if it begins within `limit` seconds. `has_ended`
    tells whether it has written all: with many threads on a busy machine it may pause at any place."""
    fd = worker.output.stacks
    size, waited = begin, 0.0
    while waited < (limit if size == begin else WRITE_LIMIT):
        gevent.sleep(STACK_INTERVAL)
        waited += STACK_INTERVAL
        before, size = size, os.fstat(fd).st_size
        if size > begin and size == before and has_ended():
            size = os.fstat(fd).st_size
            break
    return os.pread(fd, max(0, size - begin), begin).decode("utf-8", "replace")


def ordered(text: str, thread: int) -> list[str]:
    """The stack of each thread in a text of `faulthandler`, without frames of the worker, first that of the thread with
    this identifier: there may be hundreds, and it is the oldest. It is not always the "current" one, which is the one
    that has handled the signal."""
    threads = _without_own(text).split("\n\n")
    return sorted(threads, key=lambda each: not _is_of(each, thread))


def _is_of(stack: str, thread: int) -> bool:
    found = _THREAD.match(stack)
    return found is not None and int(found[1], 16) == thread


def _without_own(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not _is_own(line)).strip()


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
