"""The memory that a worker and its node share, and how several jobs go to a worker, and come back, in one message.

Standard library. The worker has its side in `runner.py`, the node in `execution/worker_channel.py`.

    0     job and attempt that are to be interrupted    node      runner.target
    64    the limit of the job that runs                worker    limits.py
    128   words of 64 bits, below
    4096  outcomes that are not sent yet                worker

Short jobs are handed over up to sixteen in a message, a group, and their outcomes are kept here until the last of them
has ended: a wake-up for each would cost more than the shortest do. Yet what has begun is known exactly, and nothing
that has ended is lost or late where a job takes longer than expected, or kills the worker:

- Jobs in groups have serial numbers. The worker writes one into `BEGUN` before it begins the job.
- To take back what a living worker has read and not begun, the node writes the last number that it has handed over
  into `VOID`, waits until every processor has seen that (`VOID_SEEN`), and reads `BEGUN`: what is greater, up to that
  number, will not be begun. For the worker first writes `BEGUN` and then looks at `VOID`. Where that tells it not to go
  on it says so, since the node may have read a number that was not begun after all, or is one of a later group.
- Outcomes lie here whole, one after the other, `FILLED` bytes of them, and of those that were sent together in a
  message the node knows the `GENERATION`: it can take them from here at any time, and knows them when they are sent.
"""

from __future__ import annotations

import mmap

#: Bytes of the memory.
SIZE = 32 * 1024
#: Seconds after which all processors have seen what one has written; it takes less than a millionth of that.
VOID_SEEN = 0.001

BEGUN, VOID, GENERATION, FILLED, RUNNING = range(5)
_WORDS, _OUTBOX = 128, 4096
_RUNNING_PLACE = _WORDS + 8 * RUNNING
#: How often outcomes are looked at anew that are just being sent.
_LOOKS = 100


def runs(page: mmap.mmap) -> bool:
    """For the template, which reads only: whether the worker runs a job, so that there may be processes to look at."""
    return any(page[_RUNNING_PLACE : _RUNNING_PLACE + 8])


class Page:
    """One process's view of the memory."""

    def __init__(self, fd: int) -> None:
        self.map = mmap.mmap(fd, SIZE)
        #: Each is read and written in one step.
        self.words = memoryview(self.map)[_WORDS : _WORDS + 40].cast("Q")
        self.outbox = memoryview(self.map)[_OUTBOX:]

    def close(self) -> None:
        self.words.release()
        self.outbox.release()
        self.map.close()

    def keep(self, outcome: bytes) -> bool:
        """For the worker: put an outcome behind those that are here; False where there is no room."""
        begin = self.words[FILLED]
        end = begin + len(outcome)
        if end > len(self.outbox):
            return False
        self.outbox[begin:end] = outcome
        self.words[FILLED] = end
        return True

    def mark(self) -> tuple[int, int]:
        """The generation of the outcomes that are here, and how many bytes of them there are."""
        words = self.words
        for _ in range(_LOOKS):
            generation, filled = words[GENERATION], words[FILLED]
            if words[GENERATION] == generation:
                return generation, min(filled, len(self.outbox))
        return words[GENERATION], 0

    def kept(self, generation: int, filled: int) -> bytes:
        """The outcomes up to a mark; nothing where they are on their way by now. Of a living worker not at once after
        the mark, but when all that was written before is sure to be seen (`VOID_SEEN`)."""
        outcomes = bytes(self.outbox[:filled])
        return outcomes if self.words[GENERATION] == generation else b""

    def sent(self) -> None:
        """For the worker: the outcomes that were here are on their way."""
        # In this order: a worker that dies in between has nothing here, and not the same again as a new generation.
        self.words[FILLED] = 0
        self.words[GENERATION] += 1
