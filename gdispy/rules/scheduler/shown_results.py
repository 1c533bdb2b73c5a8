"""Which provisional results of the jobs of an assignment have arrived."""

from __future__ import annotations

from gdispy.protocol.ids import JobId


class ShownResults:
    """Counts provisional results of each job and attempt; they may arrive out of order, and after the job's end."""

    __slots__ = ("_counts", "inherited", "owed")

    def __init__(self) -> None:
        #: How many have arrived without a gap, and the numbers of those behind a gap.
        self._counts: dict[tuple[JobId, int], tuple[int, set[int]]] = {}
        #: Jobs that have ended and of which some are still on their way: how many there are.
        self.owed: dict[tuple[JobId, int], int] = {}
        #: Jobs of a previous run: which of theirs had arrived is not known.
        self.inherited: set[tuple[JobId, int]] = set()

    def note(self, job: JobId, attempt: int, index: int) -> int:
        """One has arrived; returns how many have, from the first on without a gap."""
        count, early = self._counts.get((job, attempt), (0, set()))
        if (job, attempt) in self.inherited:  # The node sends them in their order; what is missing had arrived.
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


#: Of assignments that have shown nothing, which are almost all: an installation of many clients has millions of them.
#: Never written to.
NOTHING_SHOWN = ShownResults()
