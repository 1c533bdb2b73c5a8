"""The base of messages, types of their fields, and decoding a message from an array.

Pure. `messages/` has the messages between peers, `rules/history/facts.py` additional facts of journals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import MISSING, replace
from operator import itemgetter
from typing import ClassVar, TypeVar

from gdispy.errors import ProtocolError
from gdispy.protocol.field_checks import Check
from gdispy.protocol.record import Fields, fields


class Message(Fields):
    """Base of all messages."""

    __slots__ = ()
    tag: ClassVar[int]
    #: One check per field, in order.
    shape: ClassVar[tuple[Check, ...]]
    #: Names of the fields that hold one item per job, and so must have equal length.
    columns: ClassVar[tuple[str, ...]] = ()
    #: Fields that hold rows, or None for some items, and the type of these rows; they are converted on arrival.
    row_types: ClassVar[dict[str, Callable[..., tuple[object, ...]]]] = {}
    #: Names of the fields that may be split, item by item, between several messages; an empty one stays empty. A
    #: message without such fields cannot be split.
    parts: ClassVar[tuple[str, ...]] = ()
    #: Flags that only the first of several messages sets.
    once: ClassVar[tuple[str, ...]] = ()
    #: Flags that all of several messages set except the last.
    unfinished: ClassVar[tuple[str, ...]] = ()
    #: Whether it follows all previous messages, including payloads.
    is_last: ClassVar[bool] = False
    #: Whether no later message overtakes it, however long it is.
    is_first: ClassVar[bool] = False

    def values(self) -> list[object]:
        """The array on the wire."""
        return [self.tag, *fields(self)]

    def problem(self) -> str:
        """The error in a combination of valid fields, or ''."""
        return ""


M = TypeVar("M", bound=Message)


def picked(message: M, places: Sequence[int]) -> M:
    """The same message with only some of the items of its columns."""
    columns: dict[str, list[object]] = {name: getattr(message, name) for name in message.parts}
    picks = {name: [column[place] for place in places] if column else [] for name, column in columns.items()}
    return replace(message, **picks)


def read_values(values: object, by_tag: dict[int, type[Message]]) -> Message:
    """The message in an array. Raises ProtocolError for anything else."""
    if type(values) is not list or not values or type(values[0]) is not int:
        raise ProtocolError("a message must be an array that begins with its number")
    kind = by_tag.get(values[0])
    if kind is None:
        raise ProtocolError(f"there is no message {values[0]}")
    shape = kind.shape
    if len(values) - 1 < len(shape):
        values = [*values, *_later_fields(kind, len(values) - 1)]
    # Additional fields come from a later version, and are optional.
    found = values[1 : len(shape) + 1]
    for check, value in zip(shape, found, strict=True):
        if not check(value):
            raise ProtocolError(_what_is_wrong(kind, found))
    if kind.columns and len(set(map(len, _columns(kind, found)))) != 1:
        raise ProtocolError(f"the columns of {kind.__name__} differ in length")
    for name, make in kind.row_types.items():
        index = kind.__match_args__.index(name)
        found[index] = [None if row is None else make(*row) for row in found[index]]
    message = kind(*found)
    problem = message.problem()
    if problem:
        raise ProtocolError(problem)
    return message


def _later_fields(kind: type[Message], given: int) -> list[object]:
    """Defaults for the last fields, if an earlier version did not have them. Raises ProtocolError for other missing
    fields."""
    found: list[object] = []
    for name in kind.__match_args__[given:]:
        field = kind.__dataclass_fields__[name]
        if field.default is not MISSING:
            found.append(field.default)
        elif field.default_factory is not MISSING:
            found.append(field.default_factory())
        else:
            raise ProtocolError(f"{kind.__name__} has {len(kind.shape)} fields, not {given}")
    return found


def _what_is_wrong(kind: type[Message], found: list[object]) -> str:
    fields = zip(kind.__match_args__, kind.shape, found, strict=True)
    names = [name for name, check, value in fields if not check(value)]
    return f"{kind.__name__}.{names[0]} is not what it must be"


#: By kind of message, a function that returns its columns, out of all its fields.
_getters: dict[type[Message], Callable[[list[object]], tuple[Sized, ...]]] = {}


def _columns(kind: type[Message], found: list[object]) -> tuple[Sized, ...]:
    getter = _getters.get(kind)
    if getter is None:
        places = [kind.__match_args__.index(name) for name in kind.columns]
        # For one index it returns the item, not a tuple; a repeated index does no harm.
        getter = _getters[kind] = itemgetter(*places, places[0])
    return getter(found)
