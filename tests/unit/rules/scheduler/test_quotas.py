"""How many nodes and patterns a client may name."""

from __future__ import annotations

import pytest

from gdispy.rules.scheduler.quotas import ADDRESSES, PATTERNS, Quotas, objection


def nodes(count: int, begin: int = 0) -> list[str]:
    return [f"host{number}" for number in range(begin, begin + count)]


@pytest.mark.parametrize(
    ("named", "others", "accepted"),
    [
        (nodes(ADDRESSES), [], True),
        (nodes(ADDRESSES + 1), [], False),
        (nodes(1, ADDRESSES), nodes(ADDRESSES), False),
        (nodes(ADDRESSES), nodes(ADDRESSES), True),
        (["*"] * 3 + nodes(ADDRESSES), [], True),
        (["10.0.*"] * PATTERNS, [], True),
        (["10.0.*"] * (PATTERNS + 1), [], False),
        (nodes(5), nodes(ADDRESSES + 7), True),
    ],
)
def test_different_nodes_of_a_client_and_patterns_of_a_computation_are_limited(
    named: list[str], others: list[str], accepted: bool
) -> None:
    assert (objection(named, set(others)) == "") is accepted


def test_objection_says_what_to_do() -> None:
    text = objection(nodes(600, ADDRESSES), set(nodes(ADDRESSES)))
    assert text.startswith("the client names 1,624 nodes, and this scheduler accepts at most 1,024 per client: ")
    assert objection(["a*"] * 5000, set()) == (
        "`nodes` has 5,000 elements, and this scheduler accepts 4,096: use fewer patterns"
    )


def test_nothing_is_limited_unless_that_is_set() -> None:
    assert Quotas() == Quotas(bytes=0, jobs=0, computations=0)
