"""Signs of life: two sides in a world with delays, of which one may be calm, or die."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from gdispy.protocol.heartbeat import CALM, CALM_LOST_AFTER, INTERVAL, LOST_AFTER, Heartbeat


class Side:
    """One end of a connection, which does with its `Heartbeat` what `transport/connection.py` does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.life = Heartbeat(INTERVAL, world.now)
        self.other: Side = self
        self.is_dead = False
        self.was_silent = False
        self.lost_at: float | None = None
        self.signs = self.turn = 0

    def start(self) -> None:
        self.look_later()

    def look_later(self) -> None:
        self.turn += 1
        turn = self.turn
        self.world.after(self.life.wait(self.world.now), lambda: self.look() if turn == self.turn else None)

    def look(self) -> None:
        if self.is_dead:
            return
        now = self.world.now
        if self.life.is_due(now):
            self.give_sign()
        self.was_silent = self.was_silent or self.life.is_silent(now)
        if self.life.is_lost(now) and self.lost_at is None:
            self.lost_at = now
        self.look_later()

    def give_sign(self) -> None:
        self.signs += 1
        self.transmit(self.life.sign(), False)

    def say(self) -> None:
        if not self.is_dead:
            self.life.asked(self.world.now)
            self.transmit(1, True)
            self.look_later()

    def rest(self, rests: bool) -> None:
        self.life.calm = rests
        self.look_later()

    def transmit(self, promised: int, has_messages: bool) -> None:
        self.life.sent(self.world.now)
        self.world.deliver(self.other, promised, has_messages)

    def hear(self, promised: int, has_messages: bool) -> None:
        if self.is_dead:
            return
        self.life.heard(self.world.now, promised, has_messages)
        if self.life.answers:
            self.give_sign()
        self.look_later()


class World:
    def __init__(self, seed: int = 0, delay: float = 0.05) -> None:
        self.random = random.Random(seed)
        self.delay = delay
        self.now = 1000.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._arrival: dict[int, float] = {}
        self.one, self.two = Side(self), Side(self)
        self.one.other, self.two.other = self.two, self.one
        for side in (self.one, self.two):
            side.start()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, what))

    def deliver(self, side: Side, promised: int, has_messages: bool) -> None:
        """In the order in which it was sent, each time after another while."""
        arrival = max(self._arrival.get(id(side), 0.0), self.now + self.random.uniform(0, self.delay))
        self._arrival[id(side)] = arrival
        self.after(arrival - self.now, lambda: side.hear(promised, has_messages))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = end


def test_two_sides_that_do_not_rest_give_a_sign_each_interval() -> None:
    world = World()
    world.run(100 * INTERVAL)
    assert all(95 <= side.signs <= 111 for side in (world.one, world.two))
    assert not world.one.was_silent and not world.two.was_silent


def test_where_one_rests_both_are_rarely_heard() -> None:
    world = World()
    world.one.rest(True)
    world.run(10 * CALM * INTERVAL)
    for side in (world.one, world.two):
        assert 9 <= side.signs <= 13
        assert not side.was_silent
    # The other side has nothing to do but to answer.
    assert world.two.life.wait(world.now) > INTERVAL


@pytest.mark.parametrize("seed", range(200))
def test_nobody_who_lives_is_taken_for_silent(seed: int) -> None:
    world = World(seed, delay=0.5)
    for _ in range(60):
        side = world.random.choice([world.one, world.two])
        what = world.random.choice(["say", "say", "rest", "work"])
        if what == "say":
            side.say()
        elif side is world.one:
            side.rest(what == "rest")
        world.run(world.random.choice([0.01, 0.3, 3.0, 20.0, 70.0]))
    assert not world.one.was_silent and not world.two.was_silent


@pytest.mark.parametrize("seed", range(100))
def test_a_side_that_dies_at_rest_is_lost_in_time(seed: int) -> None:
    world = World(seed)
    world.one.rest(True)
    world.run(world.random.uniform(100, 200))
    died = world.now
    world.one.is_dead = True
    if world.random.random() < 0.5:
        world.run((CALM_LOST_AFTER + 1.2) * CALM * INTERVAL)
        assert world.two.lost_at is not None
        return
    # It gets something to do before that is noticed: from then on it has no more time than any other.
    world.run(world.random.uniform(0, 55))
    assert world.two.lost_at is None
    asked = world.now
    world.two.say()
    world.run((LOST_AFTER + 0.6) * INTERVAL)
    assert world.two.lost_at is not None and world.two.lost_at >= max(died, asked)


def test_who_gets_something_to_do_is_heard_at_the_usual_time_again() -> None:
    world = World()
    world.one.rest(True)
    world.run(200)
    world.two.say()
    world.run(0.1)
    world.one.rest(False)
    before = world.one.signs, world.two.signs
    world.run(10 * INTERVAL)
    assert world.one.signs - before[0] >= 9 and world.two.signs - before[1] >= 9
    assert not world.one.life.is_slow and not world.two.life.is_slow
