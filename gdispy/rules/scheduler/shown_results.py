"""The provisional results that have arrived of the jobs of an assignment."""

from __future__ import annotations

from gdispy.protocol.ids import JobId


class ShownResults:
    """Counts provisional results of each job and attempt; they may arrive out of order, and after the job's end."""

    __slots__ = ("_counts", "inherited", "owed")

    def __init__(self) -> None:
        #: The number that have arrived without a gap, and the indices of those behind a gap.
        self._counts: dict[tuple[JobId, int], tuple[int, set[int]]] = {}
        #: Jobs that have ended and of which some provisional results have not arrived: the total number of their
        #: provisional results.
        self.owed: dict[tuple[JobId, int], int] = {}
        #: Jobs of a previous run: it is unknown which of their provisional results had arrived.
        self.inherited: set[tuple[JobId, int]] = set()

    def note(self, job: JobId, attempt: int, index: int) -> int:
        """A provisional result has arrived; returns how many have arrived without a gap, counted from the first."""
        count, early = self._counts.get((job, attempt), (0, set()))
        if (job, attempt) in self.inherited:  # The node sends them in order; missing ones had arrived before.
            count = max(count, index)
        if index >= count:
            early.add(index)
        while count in early:
            early.discard(count)
            count += 1
        self._counts[job, attempt] = count, early
        if count >= self.owed.get((job, attempt), count + 1):
            del self.owed[job, attempt], self._counts[job, attempt]
        return count

    def note_end(self, job: JobId, attempt: int, shown: int) -> None:
        """A job has ended that made `shown` provisional results."""
        if (job, attempt) not in self.inherited and self._counts.get((job, attempt), (0,))[0] < shown:
            self.owed[job, attempt] = shown
        else:
            self._counts.pop((job, attempt), None)


#: Shared by all assignments without provisional results, which are almost all: an installation with many clients has
#: millions of them. Never written to.
NOTHING_SHOWN = ShownResults()
