"""Records: the base of messages, facts and effects, with named fields and nothing else.

A record is a dataclass with slots, compared and shown by its fields. It never changes: the type checker ensures that.
It is not frozen, since frozen dataclasses are slower to create and to define, and there are about a hundred record
classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import Field

    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[T], T]:
        return lambda function: function


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class with annotated fields a record; it derives from `Fields`."""
    return dataclass(slots=True, repr=False, eq=False)(cls)


class Fields:
    """Base of all records."""

    __slots__ = ()
    #: The names of the fields, in order; set by `dataclass`.
    __match_args__: ClassVar[tuple[str, ...]] = ()
    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and fields(self) == fields(other)

    def __hash__(self) -> int:
        return hash((type(self), fields(self)))

    def __repr__(self) -> str:
        shown = zip(self.__match_args__, fields(self), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown)})"


#: By class, a function that returns the fields of a record.
_getters: dict[type[Fields], Callable[[Fields], tuple[Any, ...]]] = {}


def fields(record: Fields) -> tuple[Any, ...]:
    """The fields of a record, in order."""
    getter = _getters.get(type(record))
    if getter is None:
        getter = _getters[type(record)] = _new_getter(type(record).__match_args__)
    return getter(record)


def _new_getter(names: tuple[str, ...]) -> Callable[[Fields], tuple[Any, ...]]:
    if len(names) == 1:  # For one name it returns the value, not a tuple.
        return lambda record: (getattr(record, names[0]),)
    return attrgetter(*names) if names else lambda record: ()
