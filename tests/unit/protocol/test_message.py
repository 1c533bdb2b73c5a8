"""Decoding arrays: what is no message, and fields of other versions."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import pytest

from gdispy.errors import ProtocolError
from gdispy.protocol.field_checks import is_count, is_count_column, is_text, is_text_column
from gdispy.protocol.message import Message, picked, read_values
from gdispy.protocol.record import record
from gdispy.protocol.rows import FileRow


@record
class Named(Message):
    """A message with a field that earlier versions did not have."""

    tag = 1
    shape = (is_text, is_count, is_count_column)
    name: str
    number: int = 7
    more: list[int] = field(default_factory=list)


@record
class Columns(Message):
    """A message with an item for each job."""

    tag = 2
    shape = (is_text, is_count_column, is_text_column, is_text_column)
    columns = ("jobs", "texts")
    parts = ("jobs", "texts", "notes")
    name: str
    jobs: list[int]
    texts: list[str]
    notes: list[str]


@record
class Files(Message):
    """A message with rows."""

    tag = 3
    shape = (lambda value: isinstance(value, list),)
    row_types = {"files": FileRow}
    files: list[Any]


@record
class Even(Message):
    """A message of which not all combinations are valid."""

    tag = 4
    shape = (is_count,)
    number: int

    def problem(self) -> str:
        return "the number is odd" if self.number % 2 else ""


BY_TAG: dict[int, type[Message]] = {each.tag: each for each in (Named, Columns, Files, Even)}


def read(*values: Any) -> Message:
    return read_values(list(values), BY_TAG)


def test_message_is_the_array_of_its_number_and_fields() -> None:
    message = Named("a", 5, [1])
    assert message.values() == [1, "a", 5, [1]]
    assert read(*message.values()) == message


@pytest.mark.parametrize("values", [None, 5, {}, (1, "a"), [], ["1", "a"], [True, "a"], [1.0, "a"]])
def test_anything_else_is_no_message(values: Any) -> None:
    with pytest.raises(ProtocolError, match="a message must be an array that begins with its number"):
        read_values(values, BY_TAG)


def test_unknown_number_is_no_message() -> None:
    with pytest.raises(ProtocolError, match="there is no message 99"):
        read(99)


def test_fields_that_an_earlier_version_lacks_have_their_defaults() -> None:
    assert read(1, "a") == Named("a", 7, []) and read(1, "a", 5) == Named("a", 5, [])
    assert read(1, "a").more is not read(1, "a").more  # type: ignore[attr-defined]


def test_field_without_a_default_must_be_there() -> None:
    with pytest.raises(ProtocolError, match="Named has 3 fields, not 0"):
        read(1)


def test_fields_of_a_later_version_are_ignored() -> None:
    assert read(1, "a", 5, [1], "later", {}) == Named("a", 5, [1])


@pytest.mark.parametrize(
    ("values", "name"),
    [(["a", -1, []], "number"), ([5, 5, []], "name"), (["a", 5, [True]], "more"), ([5, -1, 0], "name")],
)
def test_first_field_that_is_wrong_is_named(values: list[Any], name: str) -> None:
    with pytest.raises(ProtocolError, match=f"Named.{name} is not what it must be"):
        read(1, *values)


@pytest.mark.parametrize(("jobs", "texts"), [([1], []), ([], ["a"]), ([1, 2], ["a"])])
def test_columns_have_the_same_length(jobs: list[int], texts: list[str]) -> None:
    with pytest.raises(ProtocolError, match="the columns of Columns differ in length"):
        read(2, "a", jobs, texts, [])
    assert read(2, "a", [1], ["a"], ["x", "y"]).notes == ["x", "y"]  # type: ignore[attr-defined]


def test_rows_have_names_and_missing_rows_stay_missing() -> None:
    row = ["a", 0o600, 1.0, 3, b"digest"]
    (first, second) = read(3, [row, None]).files  # type: ignore[attr-defined]
    assert second is None and isinstance(first, FileRow) and (first.path, first.size) == ("a", 3)


def test_combination_that_is_invalid_is_refused_with_its_reason() -> None:
    assert read(4, 2) == Even(2)
    with pytest.raises(ProtocolError, match="the number is odd"):
        read(4, 3)


def test_some_items_of_a_message_are_picked_and_empty_columns_stay_empty() -> None:
    message = Columns("a", [1, 2, 3], ["x", "y", "z"], [])
    assert picked(message, [2, 0]) == Columns("a", [3, 1], ["z", "x"], [])
    assert message.jobs == [1, 2, 3]
