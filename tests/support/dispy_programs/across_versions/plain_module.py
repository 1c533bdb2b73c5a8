"""A module of the program."""

from __future__ import annotations

import enum
from dataclasses import InitVar, dataclass, field
from typing import ClassVar

UNIT = "kg"


class Weight(enum.Enum):
    LIGHT = 1
    HEAVY = 50

    def __str__(self) -> str:
        return f"{self.value} {UNIT}"


@dataclass(frozen=True)
class Brick:
    count: int
    weight: Weight = Weight.LIGHT
    made: ClassVar[list[str]] = ["clay"]
    extra: InitVar[int] = 0

    def __post_init__(self, extra: int) -> None:
        object.__setattr__(self, "total", self.count * self.weight.value + extra)


@dataclass
class Wall:
    bricks: list[Brick] = field(default_factory=list)

    def total(self) -> Total:
        return sum(map(weigh, self.bricks))


Total = int


def weigh(brick: Brick, *, unit: NotThere = None) -> int:  # noqa: F821
    return brick.total * _factor()


def _factor() -> int:
    return 2
