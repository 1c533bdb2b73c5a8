"""How many strangers a listener bears: connections that have not yet shown the secret.

Floor 1: pure. Called by `net.Listener`.

A stranger costs a place until it has shown the secret. Places are few, in all and for each address.
When they are taken, the one who has waited longest gives way to the newcomer: an honest peer needs
its place for milliseconds, so a crowd that only sits there does not keep it out. What costs the
server a Diffie-Hellman (a first message that fits, perhaps recorded) costs the address a token;
tokens come back with time, and at once when the peer turns out to be honest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Connections that have not shown the secret, in all and from one address.
PLACES = 128
PLACES_EACH = 64
#: Answers to first messages that one address may draw: at once, and then each second.
BURST = 40
RATE = 20.0
#: Addresses remembered at most.
MEMORY = 4096


@dataclass
class _Bucket:
    tokens: float = BURST
    since: float = 0.0


@dataclass
class Admission:
    """Who waits for admission, oldest first, and what each address has left."""

    places: int = PLACES
    places_each: int = PLACES_EACH
    _waiting: dict[int, str] = field(default_factory=dict)
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def arrive(self, stranger: int, address: str) -> list[int]:
        """Take a stranger in; returns those who have to go for it."""
        leave = []
        same = [other for other, from_ in self._waiting.items() if from_ == address]
        if len(same) >= self.places_each:
            leave.append(same[0])
        elif len(self._waiting) >= self.places:
            leave.append(next(iter(self._waiting)))
        for other in leave:
            del self._waiting[other]
        self._waiting[stranger] = address
        return leave

    def leave(self, stranger: int) -> None:
        """The stranger is gone, or none any more."""
        self._waiting.pop(stranger, None)

    def may_answer(self, address: str, now: float) -> bool:
        """Whether a first message from there may be answered; it costs a token."""
        if len(self._buckets) >= MEMORY and address not in self._buckets:
            self._buckets.pop(next(iter(self._buckets)))
        bucket = self._buckets.setdefault(address, _Bucket(BURST, now))
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.since) * RATE)
        bucket.since = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def was_honest(self, address: str) -> None:
        """The peer has shown the secret: its token comes back."""
        bucket = self._buckets.get(address)
        if bucket is not None:
            bucket.tokens = min(BURST, bucket.tokens + 1)
