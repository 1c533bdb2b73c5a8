"""Digests of calls that do not depend on the order of sets."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.journal.call_digest import content_digest
from gdispy.worker import pickling


def call(*args: Any, **kwargs: Any) -> bytes:
    return pickling.dumps((args, kwargs))  # type: ignore[return-value]


HASHABLE = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.sampled_from([0.0, -0.0, 1.0, 2.5]) | st.text(max_size=2),
    lambda each: st.frozensets(each, max_size=4) | st.tuples(each, each),
    max_leaves=8,
)
VALUES = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=6),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.integers(0, 3), each, max_size=2),
    max_leaves=8,
)


def shuffled(value: Any, order: random.Random) -> Any:
    """An equal value, with sets that were filled in another order."""
    if isinstance(value, list | tuple):
        return type(value)([shuffled(each, order) for each in value])
    if isinstance(value, dict):
        return {key: shuffled(each, order) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        items = [shuffled(each, order) for each in value]
        order.shuffle(items)
        filled = set(range(1000, 1000 + order.choice([0, 100])))
        filled.update(items)
        return type(value)(filled - set(range(1000, 1100)) if order.random() < 0.5 else items)
    return value


def described(value: Any) -> Any:
    """Equal for equal values of equal types only."""
    if isinstance(value, list | tuple):
        return type(value).__name__, [described(each) for each in value]
    if isinstance(value, dict):
        return "dict", [(key, described(each)) for key, each in value.items()]
    if isinstance(value, set | frozenset):
        return type(value).__name__, sorted(repr(described(each)) for each in value)
    return type(value).__name__, repr(value)


@given(VALUES, st.randoms(use_true_random=False))
def test_digest_does_not_depend_on_the_order_of_sets(value: Any, order: random.Random) -> None:
    one, other = shuffled(value, order), shuffled(value, order)
    assert content_digest(call(one, {1})) == content_digest(call(other, {1})) is not None


@given(VALUES, VALUES)
def test_calls_that_differ_have_other_digests(one: Any, other: Any) -> None:
    first, second = content_digest(call(one, {1})), content_digest(call(other, {1}))
    assert first is not None and second is not None
    if described(one) != described(other):
        assert first != second


def test_which_parts_are_one_object_is_part_of_a_call() -> None:
    one, other = [1], [1]
    assert content_digest(call({1, 2}, one, one)) != content_digest(call({1, 2}, one, other))
    assert content_digest(call({(1, 2)}, [{"a"}, {"b"}])) != content_digest(call({(2, 1)}, [{"a"}, {"b"}]))
    assert content_digest(call({(1, 2)}, [{"a"}, {"b"}])) != content_digest(call({(1, 2)}, [{"b"}, {"a"}]))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\0", b"\x80\x05\x8f\x94", call({1})[:-1], call({1}) + b"more"])
def test_what_is_no_pickle_or_holds_no_set_has_no_digest(data: bytes) -> None:
    assert content_digest(data) is None
    assert content_digest(call("\x8f\x94", [1.5])) is None


def test_value_that_holds_itself_has_a_digest_and_a_very_deep_one_may_have_none() -> None:
    value: list[Any] = [{1}]
    value.append(value)
    other: list[Any] = [{1}]
    other.append([other])
    assert content_digest(call(value)) is not None
    assert content_digest(call(value)) != content_digest(call(other))
