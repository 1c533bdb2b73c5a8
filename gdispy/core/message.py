"""What messages are made of: the base of all, names that they use, and how one is read from an array.

Floor 1: pure. `messages.py` has what peers say, `facts.py` what a journal remembers besides.
"""

from __future__ import annotations

from typing import Any, ClassVar, NewType

from gdispy.core.shapes import Check
from gdispy.errors import ProtocolError

#: Sixteen random bytes: one life of one process.
Instance = NewType("Instance", bytes)
#: Eight random bytes: one computation of one client.
ComputationId = NewType("ComputationId", bytes)
#: Counts from 1 in each computation.
JobId = NewType("JobId", int)


class Message:
    """Base of all messages."""

    __slots__ = ()
    tag: ClassVar[int]
    #: One check per field, in order.
    shape: ClassVar[tuple[Check, ...]]
    #: Names of the fields that hold one item per job, and so must be of one length.
    columns: ClassVar[tuple[str, ...]] = ()
    #: Whether it leaves behind all that was said before, payloads included.
    is_last: ClassVar[bool] = False
    #: The names of the fields, in their order; `dataclass` sets it.
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def values(self) -> list[Any]:
        """The array that travels."""
        return [self.tag, *[getattr(self, name) for name in self.__match_args__]]

    def problem(self) -> str:
        """What is wrong with fields that are good each for itself, or ''."""
        return ""


def read_values(values: Any, by_tag: dict[int, type[Message]]) -> Message:
    """The message in an array. Raises ProtocolError for anything else."""
    if type(values) is not list or not values or type(values[0]) is not int:
        raise ProtocolError("a message must be an array that begins with its number")
    kind = by_tag.get(values[0])
    if kind is None:
        raise ProtocolError(f"there is no message {values[0]}")
    shape = kind.shape
    if len(values) - 1 < len(shape):
        raise ProtocolError(f"{kind.__name__} has {len(shape)} fields, not {len(values) - 1}")
    # Fields beyond those known here were added by a later version, and can be done without.
    found = values[1 : len(shape) + 1]
    for name, check, value in zip(kind.__match_args__, shape, found, strict=True):
        if not check(value):
            raise ProtocolError(f"{kind.__name__}.{name} is not what it must be")
    message = kind(*found)
    if kind.columns and len({len(getattr(message, name)) for name in kind.columns}) != 1:
        raise ProtocolError(f"the columns of {kind.__name__} differ in length")
    problem = message.problem()
    if problem:
        raise ProtocolError(problem)
    return message
