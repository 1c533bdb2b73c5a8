"""Limits the connections of a listener that have not yet proved the secret, and the number of answers to them.

Pure.

A connection occupies a place until its first sealed frame was decrypted. Places are limited, in all and for each
address, and the cost of a new connection does not depend on their number. If all are occupied, one is closed for the
new connection: one of the same address if that has its maximum, else of the address with most places; the one that has
waited longest. An honest peer needs its place for milliseconds, so a flood of idle connections does not keep it out,
and a flood from other addresses does not even close its connection.

Each Diffie-Hellman of the responder costs the address a token; tokens are refilled with time, and immediately when the
peer proves the secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Maximum number of connections without a first message, and without a first frame; one address has at most half of the
#: places.
PLACES = 2048
PROVING = 256
#: Maximum number of answers to first messages of one address: in a burst, and per second.
BURST = 40
RATE = 20.0
#: Maximum number of addresses to remember.
MEMORY = 4096


class Places:
    """The occupied places, by address."""

    def __init__(self, places: int = PLACES, places_each: int = PLACES // 2) -> None:
        self._limit = places
        self._limit_each = places_each
        #: The address of each; and those of each address, oldest first.
        self._address_of: dict[int, str] = {}
        self._of_address: dict[str, dict[int, None]] = {}
        #: An address with about the maximum number of places. A growing address replaces it; a shrinking one remains.
        self._crowd = ""

    def __len__(self) -> int:
        return len(self._address_of)

    def arrive(self, number: int, address: str) -> int | None:
        """Give a new connection a place; returns the connection that loses its place for that."""
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
        """Free the place; no effect if there is none."""
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
    """The number of answers left for each address."""

    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def may_answer(self, address: str, now: float) -> bool:
        """Whether a first message from there may be answered; this costs a token."""
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
        """The peer has proved the secret: its token is returned."""
        bucket = self._buckets.get(address)
        if bucket is not None:
            bucket.tokens = min(BURST, bucket.tokens + 1)
