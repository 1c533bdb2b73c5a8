"""All attacks, which of them fit into the time, and how it is shared among them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.attack import abuse, discovery, floods, fuzz, replays, tampering, wire
from tests.attack.stage import Attack


def every(only: str, seconds: float, chance: random.Random, least_each: int, overhead: float) -> list[Attack]:
    """The attacks of a run; where its time does not do for all, some of each topic, by chance. Raises SystemExit."""
    modules = (floods, replays, tampering, discovery, fuzz, wire, abuse)
    found = [attack for module in modules for attack in module.attacks()]
    words = [word.strip() for word in only.split(",") if word.strip()]
    if words:
        found = [each for each in found if any(word in f"{each.topic}: {each.name} {each.target}" for word in words)]
        if not found:
            raise SystemExit(f"--only {only!r} fits no attack")
    needed = sum(attack.least + overhead for attack in found)
    if needed <= seconds:
        return found
    return _some(found, seconds / needed, chance, least_each)


def _some(attacks: Sequence[Attack], share: float, chance: random.Random, least_each: int) -> list[Attack]:
    chosen: list[Attack] = []
    for topic in dict.fromkeys(attack.topic for attack in attacks):
        own = [attack for attack in attacks if attack.topic == topic]
        count = min(len(own), max(least_each, round(share * len(own))))
        picked = chance.sample(own, count)
        chosen += [attack for attack in own if attack in picked]
    return chosen


def remaining_time(attacks: Sequence[Attack], left: float, overhead: float) -> float:
    """Seconds for the first of these attacks, of what is left for all."""
    usable = left - overhead * len(attacks)
    first = attacks[0]
    return max(first.least, usable * first.weight / sum(attack.weight for attack in attacks))
