"""Groups of short jobs that one worker may have read, and which of them have started, as far as the node knows.

Runs in the node's loop. The page shared by node and worker records which jobs have started and keeps outcomes that are
not sent yet (`worker/shared_page.py`).

Invariants:
1. A job of a group is recalled or answered, never both.
2. An outcome is taken once: from the page, or as it was sent.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgpack

from gdispy.protocol.ids import JobId
from gdispy.rules.node.outcome import Row
from gdispy.worker import shared_page

#: A job by its number and attempt.
JobKey = tuple[JobId, int]


class _Group:
    """Jobs sent in one message; `first` is the serial number of the first of them."""

    __slots__ = ("answered", "first", "jobs")

    def __init__(self, first: int, jobs: list[JobKey]) -> None:
        self.first = first
        #: Without recalled jobs.
        self.jobs = jobs
        #: The number of them that have ended, as far as is known here.
        self.answered = 0


class JobGroups:
    """The groups of one worker."""

    def __init__(self, page: shared_page.Page) -> None:
        self._page = page
        #: The last serial number given to a job.
        self._serial = 0
        #: Groups that the worker may have read and not finished, oldest first.
        self._groups: deque[_Group] = deque()
        #: The last generation of outcomes that was sent; and the number of outcomes taken from the page, with their
        #: generation.
        self._sent_generation = -1
        self._seen: tuple[int, int] = (-1, 0)

    def __bool__(self) -> bool:
        """Whether the worker may have read jobs that it has not started."""
        return bool(self._groups)

    def number(self, count: int) -> int:
        """The serial number of the first of `count` more jobs."""
        first = self._serial + 1
        self._serial += count
        return first

    def add(self, first: int, jobs: list[JobKey]) -> None:
        """These jobs were sent."""
        self._groups.append(_Group(first, jobs))

    def forget(self, firsts: set[int]) -> None:
        """The groups that begin with these numbers were not read, and never will be."""
        if firsts:
            self._groups = deque(group for group in self._groups if group.first not in firsts)

    def void(self) -> int:
        """Stop a living worker from starting more of the jobs that it has read; `take_rest` takes those up to the
        returned number. See `worker/shared_page.py` for the waiting time before that."""
        self._page.words[shared_page.VOID] = self._serial
        return self._serial

    def take_rest(self, last: int | None = None) -> list[JobKey]:
        """The jobs up to this number that the worker has read and, being dead or voided, will never start."""
        last = self._serial if last is None else last
        begun = self._page.words[shared_page.BEGUN]
        taken: list[JobKey] = []
        for group in list(self._groups):
            # An earlier group has started completely, or the worker reports the rest: see `take_from`.
            if group.first <= last and begun < last:
                taken += self._take(group, max(0, begun + 1 - group.first))
        return taken

    def take_from(self, serial: int) -> list[JobKey]:
        """The jobs of a group from this number on, which the worker will not start, except jobs taken before."""
        for group in self._groups:
            if group.first <= serial < group.first + len(group.jobs):
                return self._take(group, serial - group.first)
        return []

    def _take(self, group: _Group, index: int) -> list[JobKey]:
        taken = group.jobs[index:]
        del group.jobs[index:]
        if group.answered == len(group.jobs):
            self._groups.remove(group)
        return taken

    def answered(self, rows: list[Row]) -> None:
        """These jobs have ended, in the order in which they were sent."""
        groups = self._groups
        for row in rows if groups else ():
            group = groups[0]
            if group.jobs[group.answered] == row[:2]:
                group.answered += 1
                if group.answered == len(group.jobs):
                    groups.popleft()
                    if not groups:
                        return

    def sent_together(self, generation: int, data: bytes) -> list[list[Any]]:
        """The frames that were sent together, except those taken from the page before."""
        self._sent_generation = generation
        frames = _outcomes(data)
        return frames[self._seen[1] :] if self._seen[0] == generation else frames

    def kept(self, generation: int, data: bytes) -> list[list[Any]]:
        """The same for frames in the page that are not sent yet."""
        if generation <= self._sent_generation:
            return []
        frames = _outcomes(data)
        before = self._seen[1] if self._seen[0] == generation else 0
        if len(frames) <= before:  # They were read later, and taken then.
            return []
        self._seen = generation, len(frames)
        return frames[before:]


def _outcomes(data: bytes) -> list[list[Any]]:
    """The outcomes in a worker's page, in order."""
    unpacker = msgpack.Unpacker(max_buffer_size=shared_page.SIZE)
    unpacker.feed(data)
    return list(unpacker)
