"""A function that refers to twenty others, for the row about the first cluster of a program."""

from __future__ import annotations

from collections.abc import Callable

FACTOR = 3


def _adder(offset: int) -> Callable[[int], int]:
    def add(number: int) -> int:
        """Twenty of these have one text, and each another offset."""
        return number * FACTOR + offset

    return add


A, B, C, D, E = map(_adder, range(5))
F, G, H, I, J = map(_adder, range(5, 10))  # noqa: E741
K, L, M, N, O = map(_adder, range(10, 15))  # noqa: E741
P, Q, R, S, T = map(_adder, range(15, 20))


def sums(number: int) -> int:
    """Name them all."""
    return sum(add(number) for add in (A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T))
