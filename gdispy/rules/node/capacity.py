"""The CPUs of a node: how many it offers, how many it uses, and how many are busy."""

from __future__ import annotations

from gdispy.errors import InternalError
from gdispy.protocol.messages import NO_LIMIT, Cpus


class Capacity:
    """How many CPUs are used, of those that the node's owner wants to offer and its scheduler wants to use.

    Invariants: nothing is offered while there is a reason to take no jobs; `cpus` is the lesser of `offered` and the
    number that the scheduler allows; at most `cpus` are busy, or, after that number was lowered, as many as then.
    """

    def __init__(self, cpus: int) -> None:
        #: CPUs that are in use now; that are offered to schedulers; and that the node's owner wants to offer.
        self.cpus = self.offered = self.wanted = cpus
        #: CPUs of workers with a job in hand.
        self.busy = 0
        #: Whether the offer has ever differed from the one that schedulers read in `Hello`.
        self.has_varied = False
        #: CPUs that the scheduler wants to use.
        self._allowed = NO_LIMIT
        #: Why no jobs are taken, in the order in which the reasons arose.
        self._reasons: dict[str, None] = {}
        #: This many may be busy after the number was lowered; it decreases as their jobs end.
        self._ceiling = cpus

    def want(self, cpus: int) -> bool:
        """Set the number that the node's owner wants to offer; returns whether that changes the offer."""
        self.wanted = cpus
        return self._offer()

    def shut(self, why: str) -> bool:
        """Offer nothing for this reason; returns whether that changes the offer."""
        self._reasons[why] = None
        return self._offer()

    def reopen(self, why: str) -> bool:
        """Remove a reason; returns whether that changes the offer."""
        self._reasons.pop(why, None)
        return self._offer()

    def _offer(self) -> bool:
        before, self.offered = self.offered, 0 if self._reasons else self.wanted
        has_changed = self.offered != before
        self.has_varied = self.has_varied or has_changed
        return has_changed

    def reasons(self) -> list[str]:
        return list(self._reasons)

    def message(self) -> Cpus:
        """The offer, as sent to schedulers."""
        return Cpus(self.offered, ", ".join(self._reasons))

    def allow(self, cpus: int) -> None:
        """Set the number that the served scheduler wants to use."""
        self._allowed = cpus

    def adjust(self) -> int:
        """Use as many CPUs as are offered and allowed now; returns by how many the number changes."""
        before, self.cpus = self.cpus, min(self.offered, self._allowed)
        if self.cpus != before:
            self._ceiling = max(self.cpus, self.busy)
        return self.cpus - before

    def take(self, cpus: int) -> None:
        self.busy += cpus

    def give(self, cpus: int) -> None:
        self.busy -= cpus

    def free(self) -> int:
        """CPUs on which jobs may begin; negative if more are busy than may be used now."""
        return self.cpus - self.busy

    def lower_ceiling(self) -> None:
        """A CPU above the number in use now is not used again when its job has ended."""
        self._ceiling = max(self.cpus, min(self._ceiling, self.busy))

    def check(self, busy: int) -> None:
        """Raise InternalError if `busy` is not the counted number, or exceeds the limit; for tests."""
        if busy != self.busy or busy > self._ceiling:
            raise InternalError(f"{busy} workers are busy, {self.busy} counted, of {self._ceiling}")
