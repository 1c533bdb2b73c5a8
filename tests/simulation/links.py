"""Connections between a scheduler and a node: slow, out of order where `protocol/wire.py` says so, and cut.

Messages that refer to payloads travel beside the others, and enter the row of the others only when
the last of their payloads has left. So what was sent after them may arrive before them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import count
from random import Random
from typing import Any

from gdispy.protocol.ids import Peer
from gdispy.protocol.messages import Message
from gdispy.protocol.payload import Payload
from gdispy.protocol.rows import JobOptions
from tests.simulation.timeline import Broken, Timeline

_peers = count(1)


def next_peer() -> Peer:
    return Peer(next(_peers))


class Parcel(Payload):
    """A payload too long for a message; each process that it reaches has one of its own."""

    __slots__ = ("content", "releases")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = 100_000
        self.releases = 0

    def read(self, offset: int, length: int) -> Any:
        if self.releases:
            raise Broken("a payload is used that was given back")
        return self.content

    def release(self) -> None:
        self.releases += 1
        if self.releases > 1:
            raise Broken("a payload is given back twice")


def content(value: Any) -> bytes:
    """The bytes of a payload of either kind."""
    return bytes(value if type(value) is bytes else value.read(0, value.size))


def received(message: Message) -> tuple[Message, bool]:
    """The message as its receiver gets it, with payloads of its own, and whether it had any."""
    changes: dict[str, Any] = {}
    is_long = False
    for field in fields(message):  # type: ignore[arg-type]
        value = getattr(message, field.name)
        if isinstance(value, Payload | list | tuple):
            changes[field.name] = _copy(value)
            is_long = is_long or _holds_payload(value)
    return (replace(message, **changes), is_long) if changes else (message, False)  # type: ignore[type-var]


def _copy(value: Any) -> Any:
    """What the wire makes of a field: lists and payloads anew, however deep."""
    if isinstance(value, Payload):
        return Parcel(content(value))
    if isinstance(value, JobOptions):
        return JobOptions(*map(_copy, value))
    return [_copy(each) for each in value] if type(value) is list else value


def _holds_payload(value: Any) -> bool:
    return isinstance(value, Payload) or (isinstance(value, list | tuple) and any(map(_holds_payload, value)))


class Direction:
    """One direction of a connection."""

    def __init__(self, timeline: Timeline, random: Random, deliver: Callable[[list[Message]], None]) -> None:
        self._timeline = timeline
        self._random = random
        self._deliver = deliver
        self._latency = random.choice((0.0001, 0.002, 0.05, 0.2))
        #: Seconds that a message with payloads takes in addition.
        self._slowness = random.choice((0.0001, 0.02, 0.5))
        #: When the last of the payloads that were sent has left.
        self._streamed = 0.0
        #: On their way: arrival and message, in the order of both.
        self._row: deque[tuple[float, Message]] = deque()
        self._awaited = False
        self._frozen_until = 0.0
        self.dead = False

    def send(self, message: Message) -> None:
        if self.dead:
            return
        message, is_long = received(message)
        # A message with many jobs is itself too long for a frame.
        now = self._timeline.now
        if message.is_last and self._streamed > now:
            self._timeline.at(self._streamed, self._enter, message)
        elif is_long or (type(message).columns and self._random.random() < 0.02):
            self._streamed = max(now, self._streamed) + self._random.random() * self._slowness
            self._timeline.at(self._streamed, self._enter, message)
        else:
            self._enter(message)

    def freeze(self, until: float) -> None:
        """Nothing arrives before that time."""
        self._frozen_until = max(self._frozen_until, until)

    def kill(self) -> None:
        """Lose what is on its way, and all that will be sent."""
        self.dead = True
        self._row.clear()

    def _enter(self, message: Message) -> None:
        arrival = self._timeline.now + self._latency * (0.5 + self._random.random())
        if self._row:
            arrival = max(arrival, self._row[-1][0])
        self._row.append((arrival, message))
        self._await()

    def _await(self) -> None:
        if self._row and not self._awaited:
            self._awaited = True
            self._timeline.after(max(0.0, self._row[0][0] - self._timeline.now), self._arrive)

    def _arrive(self) -> None:
        self._awaited = False
        now = self._timeline.now
        if now < self._frozen_until:
            self._awaited = True
            self._timeline.after(self._frozen_until - now, self._arrive)
            return
        messages: list[Message] = []
        while self._row and self._row[0][0] <= now:
            messages.append(self._row.popleft()[1])
        if messages and not self.dead:
            self._deliver(messages)
        self._await()


class Link:
    """One connection, with a peer number for each of its ends."""

    def __init__(
        self,
        timeline: Timeline,
        random: Random,
        to_node: Callable[[Link, list[Message]], None],
        to_scheduler: Callable[[Link, list[Message]], None],
        closed: Callable[[Link, str], None],
    ) -> None:
        self.at_scheduler = next_peer()
        self.at_node = next_peer()
        self._timeline = timeline
        self._random = random
        self._closed = closed
        self.to_node = Direction(timeline, random, lambda messages: to_node(self, messages))
        self.to_scheduler = Direction(timeline, random, lambda messages: to_scheduler(self, messages))
        self.is_cut = False
        #: Whether each side has had the other's Hello.
        self.node_greeted = self.scheduler_greeted = False
        #: Whether the scheduler was told that the node is silent.
        self.silent = False

    def cut(self, patience: float) -> None:
        """Lose all that is on its way. Each side hears of it some time within `patience`."""
        if self.is_cut:
            return
        self.is_cut = True
        random = self._random
        first, second = (0.0, 0.3 * patience * random.random() ** 4)
        for direction, side in ((self.to_node, "node"), (self.to_scheduler, "scheduler")):
            delay = first
            self._timeline.after(delay, direction.kill)
            self._timeline.after(delay + (patience - delay) * random.random() ** 3, self._closed, self, side)
            first, second = second, first

    def freeze(self, seconds: float) -> None:
        """Nothing arrives in either direction for so long."""
        until = self._timeline.now + seconds
        self.to_node.freeze(until)
        self.to_scheduler.freeze(until)
