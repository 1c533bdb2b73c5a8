"""Paths in a value for error messages: to what cannot be pickled, and to what is large."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from gdispy.worker.paths_to import heaviest, name_of, unpicklable


def generator() -> Any:
    return (number for number in range(3))


class Holder:
    def __init__(self, value: Any) -> None:
        self.value = value


class Slotted:
    __slots__ = ("empty", "value")

    def __init__(self, value: Any) -> None:
        self.value = value


class Silent:
    """It can neither be pickled nor shown."""

    def __reduce__(self) -> Any:
        raise TypeError("no")

    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda each: {"a": [1, each]}, "x -> ['a'] -> [1] = <generator"),
        (lambda each: (0, {"k": each}), "x -> [1] -> ['k'] = <generator"),
        (lambda each: Holder(each), "x -> .value = <generator"),
        (lambda each: Slotted(each), "x -> .value = <generator"),
        (lambda each: functools.partial(max, each), "x -> args[0] = <generator"),
        (lambda each: functools.partial(max, key=each), "x -> keywords['key'] = <generator"),
    ],
)
def test_path_leads_to_the_innermost_object(wrap: Any, path: str) -> None:
    assert unpicklable(wrap(generator()), None, "x").startswith(path)


def test_references_of_a_function_are_followed() -> None:
    kept = generator()

    def work(value: Any = 1) -> Any:
        return kept, value

    assert "-> closure['kept'] = <generator" in unpicklable(work)
    assert unpicklable(work).startswith("test_references_of_a_function_are_followed.<locals>.work -> ")

    def other(value: Any = generator()) -> Any:  # noqa: B008
        return value

    assert "-> defaults['value'] = <generator" in unpicklable(other)


def test_value_that_can_be_pickled_has_no_path() -> None:
    assert unpicklable({"a": [1, 2]}) == "" and unpicklable(generator()) == ""


def test_object_that_cannot_be_shown_is_named_by_its_class() -> None:
    text = unpicklable([Silent()], None, "x")
    assert text.startswith("x -> [0] = ") and "Silent" in text


def test_value_that_contains_itself_ends() -> None:
    value: list[Any] = [generator()]
    value.append(value)
    assert unpicklable(value, None, "x").startswith("x -> [0] = ")


def test_largest_part_is_found_with_its_size() -> None:
    path, size = heaviest({"small": bytes(100), "large": [b"", bytes(100_000)]}, None, "x")
    assert path == "x -> ['large'] -> [1]" and 100_000 <= size < 101_000


def test_many_equal_parts_are_no_largest_one() -> None:
    path, size = heaviest([bytes([number]) * 1000 for number in range(50)], None, "x")
    assert path == "x" and size > 50_000


@pytest.mark.parametrize(
    ("value", "name"), [(Holder, "Holder"), (Holder(1), "Holder"), (len, "len"), (Holder.__init__, "Holder.__init__")]
)
def test_name_is_that_of_a_function_or_a_class(value: Any, name: str) -> None:
    assert name_of(value) == name
