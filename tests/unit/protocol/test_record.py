"""Records are compared and shown by their fields."""

from __future__ import annotations

import pytest

from gdispy.protocol.record import Fields, fields, record


@record
class Pair(Fields):
    first: int
    second: str = "x"


@record
class Other(Fields):
    first: int
    second: str = "x"


@record
class Single(Fields):
    only: int


@record
class Empty(Fields): ...


def test_equal_records_are_of_one_class_and_have_equal_fields() -> None:
    assert Pair(1) == Pair(1, "x") and hash(Pair(1)) == hash(Pair(1, "x"))
    assert Pair(1) != Pair(2) and Pair(1) != Other(1) and Pair(1) != (1, "x")
    assert Empty() == Empty() and Single(1) != Single(2)
    assert len({Pair(1), Pair(1), Other(1)}) == 2


def test_fields_are_a_tuple_in_order_whatever_their_number() -> None:
    assert (fields(Pair(1, "b")), fields(Single(1)), fields(Empty())) == ((1, "b"), (1,), ())


def test_record_shows_its_fields_by_name() -> None:
    assert repr(Pair(1, "b")) == "Pair(first=1, second='b')" and repr(Empty()) == "Empty()"


def test_record_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        Pair(1).third = 3  # type: ignore[attr-defined]
    assert not hasattr(Pair(1), "__dict__")
