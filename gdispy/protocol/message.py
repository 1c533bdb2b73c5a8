"""What messages are made of: the base of all, names that they use, and how one is read from an array.

Pure. `messages/` has what peers say, `rules/history/facts.py` what a journal remembers besides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, replace
from operator import itemgetter
from typing import Any, ClassVar, TypeVar

from gdispy.errors import ProtocolError
from gdispy.protocol.field_checks import Check
from gdispy.protocol.record import Fields, fields


class Message(Fields):
    """Base of all messages."""

    __slots__ = ()
    tag: ClassVar[int]
    #: One check per field, in order.
    shape: ClassVar[tuple[Check, ...]]
    #: Names of the fields that hold one item per job, and so must be of one length.
    columns: ClassVar[tuple[str, ...]] = ()
    #: Fields that hold rows, or None for some items, and the type of those; they are given it on arrival.
    row_types: ClassVar[dict[str, Callable[..., Any]]] = {}
    #: Names of the fields that may be divided, item by item, among several messages; one that holds nothing at all
    #: stays so. What cannot be divided is one whole.
    parts: ClassVar[tuple[str, ...]] = ()
    #: Flags that only the first of several messages sets.
    once: ClassVar[tuple[str, ...]] = ()
    #: Flags that all of several messages set but the last.
    unfinished: ClassVar[tuple[str, ...]] = ()
    #: Whether it leaves behind all that was said before, payloads included.
    is_last: ClassVar[bool] = False
    #: Whether nothing that is said after it overtakes it, however long it is.
    is_first: ClassVar[bool] = False

    def values(self) -> list[Any]:
        """The array that travels."""
        return [self.tag, *fields(self)]

    def problem(self) -> str:
        """What is wrong with fields that are good each for itself, or ''."""
        return ""


M = TypeVar("M", bound=Message)


def picked(message: M, places: Sequence[int]) -> M:
    """The same message with some of the items only that may be divided among several."""
    columns: dict[str, Any] = {name: getattr(message, name) for name in message.parts}
    picks = {name: [column[place] for place in places] if column else [] for name, column in columns.items()}
    return replace(message, **picks)


def read_values(values: Any, by_tag: dict[int, type[Message]]) -> Message:
    """The message in an array. Raises ProtocolError for anything else."""
    if type(values) is not list or not values or type(values[0]) is not int:
        raise ProtocolError("a message must be an array that begins with its number")
    kind = by_tag.get(values[0])
    if kind is None:
        raise ProtocolError(f"there is no message {values[0]}")
    shape = kind.shape
    if len(values) - 1 < len(shape):
        values = [*values, *_later_fields(kind, len(values) - 1)]
    # Fields beyond those known here were added by a later version, and can be done without.
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


def _later_fields(kind: type[Message], given: int) -> list[Any]:
    """What the fields at the end are that an earlier version did not know. Raises ProtocolError where one of them is
    missed."""
    found: list[Any] = []
    for name in kind.__match_args__[given:]:
        field = kind.__dataclass_fields__[name]
        if field.default is not MISSING:
            found.append(field.default)
        elif field.default_factory is not MISSING:
            found.append(field.default_factory())
        else:
            raise ProtocolError(f"{kind.__name__} has {len(kind.shape)} fields, not {given}")
    return found


def _what_is_wrong(kind: type[Message], found: list[Any]) -> str:
    fields = zip(kind.__match_args__, kind.shape, found, strict=True)
    names = [name for name, check, value in fields if not check(value)]
    return f"{kind.__name__}.{names[0]} is not what it must be"


#: By kind of message, what gives its columns, of all its fields.
_getters: dict[type[Message], Callable[[list[Any]], Any]] = {}


def _columns(kind: type[Message], found: list[Any]) -> Any:
    getter = _getters.get(kind)
    if getter is None:
        places = [kind.__match_args__.index(name) for name in kind.columns]
        # Of one place it gives what is there, and no tuple; then the same place twice does no harm.
        getter = _getters[kind] = itemgetter(*places, places[0])
    return getter(found)
