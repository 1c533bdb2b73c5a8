"""Timers: what is due, in order, unless it is irrelevant by then."""

from __future__ import annotations

from typing import Any

from gdispy.rules.timers import Timers


class Made:
    """Timers whose actions report their names."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.irrelevant: set[str] = set()
        self.times: list[float] = []

    def set(self, moment: float, name: str, *following: tuple[float, str]) -> None:
        def act(now: float) -> Any:
            self.times.append(now)
            for each in following:
                self.set(*each)
            return [name]

        self.timers.set(moment, lambda: name not in self.irrelevant, act)


def test_actions_run_in_the_order_of_their_moments() -> None:
    made = Made()
    for moment, name in ((3.0, "c"), (1.0, "a"), (2.0, "b"), (2.0, "b2")):
        made.set(moment, name)
    assert made.timers.due() == 1.0
    assert made.timers.ring(2.0) == ["a", "b", "b2"] and made.times == [2.0, 2.0, 2.0]
    assert made.timers.due() == 3.0 and made.timers.ring(2.9) == [] and made.timers.ring(3.0) == ["c"]
    assert made.timers.due() is None and made.timers.ring(9.0) == []


def test_irrelevant_actions_neither_run_nor_are_waited_for() -> None:
    made = Made()
    made.set(1.0, "a")
    made.set(2.0, "b")
    made.irrelevant = {"a"}
    assert made.timers.due() == 2.0
    made.irrelevant = {"b"}
    assert made.timers.ring(5.0) == [] and made.timers.due() is None


def test_action_that_sets_a_timer_which_is_due_has_it_run_as_well() -> None:
    made = Made()
    made.set(1.0, "a", (2.0, "b"), (9.0, "later"))
    assert made.timers.ring(3.0) == ["a", "b"] and made.timers.due() == 9.0


def test_action_may_make_a_later_one_irrelevant() -> None:
    made = Made()
    made.timers.set(1.0, lambda: True, lambda now: made.irrelevant.add("b") or ["a"])  # type: ignore[func-returns-value]
    made.set(1.0, "b")
    assert made.timers.ring(1.0) == ["a"]
