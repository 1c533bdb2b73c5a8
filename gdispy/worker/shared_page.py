"""The memory shared by a worker and its node, and the protocol for groups of jobs in one message.

Standard library. The worker has its side in `runner.py`, the node in `execution/worker_channel.py`.

    0     job and attempt that are to be interrupted    node      runner.target
    64    the limit of the job that runs                worker    limits.py
    128   words of 64 bits, below
    4096  outcomes that are not sent yet                worker

Short jobs are sent in groups of up to sixteen per message, and their outcomes are kept here until the last of them has
ended: a wake-up for each would cost more than the shortest jobs. Still, it is known exactly which jobs have started,
and no outcome is lost or delayed if a job takes longer than expected, or kills the worker:

- Jobs in groups have serial numbers. The worker writes one into `BEGUN` before it starts the job.
- To recall jobs that a living worker has read and not started, the node writes the last sent number into `VOID`, waits
  until every CPU has seen that (`VOID_SEEN`), and reads `BEGUN`: jobs with a greater number, up to that number, will
  not be started, since the worker first writes `BEGUN` and then reads `VOID`. If that tells it to stop, it reports so,
  since the node may have read a number that was not started after all, or that belongs to a later group.
- `LIVE` is set by the node when a job of the worker is followed: from then on it prints at once, and writes into
  `PRINTING` the number of the job whose output is in its files, 0 before it empties them.
- `FULL` is set by the node when the disk for the output of the running job has no room; the worker clears it.
- `THREAD` is the identifier of the thread that runs the jobs. If the node sets `ALL_STACKS`, the worker writes the
  stacks of its threads and clears it.
- Outcomes are stored here completely, one after the other, in `FILLED` bytes, and for those sent together in a message
  the node knows the `GENERATION`: it can take them from here at any time, and recognises them when they are sent.
"""

from __future__ import annotations

import mmap

#: Size of the memory in bytes.
SIZE = 32 * 1024
#: Seconds after which all CPUs have seen a write; it takes much less.
VOID_SEEN = 0.001

BEGUN, VOID, GENERATION, FILLED, RUNNING, LIVE, PRINTING, FULL, THREAD, ALL_STACKS = range(10)
_WORDS, _OUTBOX = 128, 4096
_RUNNING_PLACE = _WORDS + 8 * RUNNING
#: How often outcomes are read again that are just being sent.
_LOOKS = 100


def runs(page: mmap.mmap) -> bool:
    """For the template, which only reads: whether the worker runs a job, so that there may be processes to check."""
    return any(page[_RUNNING_PLACE : _RUNNING_PLACE + 8])


class Page:
    """One process's view of the memory."""

    def __init__(self, fd: int) -> None:
        self.map = mmap.mmap(fd, SIZE)
        #: Each is read and written in one step.
        self.words = memoryview(self.map)[_WORDS : _WORDS + 8 * (ALL_STACKS + 1)].cast("Q")
        self.outbox = memoryview(self.map)[_OUTBOX:]

    def close(self) -> None:
        self.words.release()
        self.outbox.release()
        self.map.close()

    def keep(self, outcome: bytes) -> bool:
        """For the worker: append an outcome; False if there is no room."""
        begin = self.words[FILLED]
        end = begin + len(outcome)
        if end > len(self.outbox):
            return False
        self.outbox[begin:end] = outcome
        self.words[FILLED] = end
        return True

    def mark(self) -> tuple[int, int]:
        """The generation of the outcomes in the page, and their size in bytes."""
        words = self.words
        for _ in range(_LOOKS):
            generation, filled = words[GENERATION], words[FILLED]
            if words[GENERATION] == generation:
                return generation, min(filled, len(self.outbox))
        return words[GENERATION], 0

    def kept(self, generation: int, filled: int) -> bytes:
        """The outcomes up to a mark; empty if they have been sent meanwhile. With a living worker, not immediately
        after the mark, but when all earlier writes are visible (`VOID_SEEN`)."""
        outcomes = bytes(self.outbox[:filled])
        return outcomes if self.words[GENERATION] == generation else b""

    def sent(self) -> None:
        """For the worker: the outcomes in the page are being sent."""
        # In this order: a worker that dies in between leaves the page empty, and not with the same outcomes as a new
        # generation.
        self.words[FILLED] = 0
        self.words[GENERATION] += 1
