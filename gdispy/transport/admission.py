"""How many connections a listener bears that have not yet shown the secret, and how many answers it gives.

Pure. Used by `net.Listener`.

A connection has a place until its first sealed frame has opened. Places are few, in all and for each address, and work
for each newcomer does not depend on how many there are. When they are taken, one gives way to the newcomer: of its own
address where that has as many as it may have, else of the address that has most; and of those the one that has waited
longest. An honest peer needs its place for milliseconds, so a crowd that only sits there does not keep it out, and a
crowd at other addresses does not even make it give way.

What costs the responder a Diffie-Hellman costs the address a token; tokens come back with time, and at once when the
peer turns out to have the secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Connections whose first message has not come, and those whose first frame has not; one address has half of the places
#: at most.
PLACES = 2048
PROVING = 256
#: Answers to first messages that one address may draw: at once, and then each second.
BURST = 40
RATE = 20.0
#: Addresses remembered at most.
MEMORY = 4096


class Places:
    """Who has one, by addresses."""

    def __init__(self, places: int = PLACES, places_each: int = PLACES // 2) -> None:
        self._limit = places
        self._limit_each = places_each
        #: Where each comes from; and those of each address, the oldest first.
        self._address_of: dict[int, str] = {}
        self._of_address: dict[str, dict[int, None]] = {}
        #: An address that has about as many as any other. One that has grown takes its part; who shrinks keeps it.
        self._crowd = ""

    def __len__(self) -> int:
        return len(self._address_of)

    def arrive(self, number: int, address: str) -> int | None:
        """Give a newcomer a place; returns who loses its own for that."""
        own = self._of_address.get(address)
        loser: int | None = None
        if own is not None and len(own) >= self._limit_each:
            loser = next(iter(own))
        elif len(self._address_of) >= self._limit:
            loser = next(iter(self._of_address.get(self._crowd) or self._address_of))
        if loser is not None:
            self.leave(loser)
        self._address_of[number] = address
        own = self._of_address.setdefault(address, {})
        own[number] = None
        if len(own) > len(self._of_address.get(self._crowd, ())):
            self._crowd = address
        return loser

    def leave(self, number: int) -> None:
        """The place is free again; nothing happens where there was none."""
        address = self._address_of.pop(number, None)
        if address is not None:
            own = self._of_address[address]
            del own[number]
            if not own:
                del self._of_address[address]


@dataclass
class _Bucket:
    tokens: float = BURST
    since: float = 0.0


@dataclass
class Answers:
    """How many answers each address has left."""

    _buckets: dict[str, _Bucket] = field(default_factory=dict)

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

    def give_back(self, address: str) -> None:
        """The peer has shown the secret: its token comes back."""
        bucket = self._buckets.get(address)
        if bucket is not None:
            bucket.tokens = min(BURST, bucket.tokens + 1)
