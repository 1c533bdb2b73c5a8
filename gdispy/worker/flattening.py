"""Pickles definitions that refer to each other over so many steps that recursion would be too deep.

Standard library. Used when recursion has failed.

All functions and classes are found first, without recursion. They are written one after the other, last found first,
functions without their references; then the references of each, and finally the value itself. Code that runs during
unpickling, such as a `__setstate__`, thus finds all of them.
"""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from gdispy.worker import rebuild
from gdispy.worker.codes import all_names, content_of, global_names

#: Maximum number of items of a container to search.
_ITEMS = 10_000
_PLAIN = frozenset((int, float, bool, str, bytes, type(None), complex))


class Flat:
    """A value to be written in this way. `pending` are functions and their references, which a pickler adds
    meanwhile."""

    def __init__(self, value: object, found: list[Any], pending: deque[tuple[Any, Any]]) -> None:
        self._items = _Items(value, found, pending)

    def __reduce__(self) -> Any:
        return rebuild.last_of, (self._items,)


class _Items:
    def __init__(self, value: object, found: list[Any], pending: deque[tuple[Any, Any]]) -> None:
        self._value, self._found, self._pending = value, found, pending

    def __reduce__(self) -> Any:
        # A pickler requests an item after it has written the previous one.
        return list, (), None, self._all()

    def _all(self) -> Iterator[Any]:
        yield from reversed(self._found)
        # The next item is requested before the current one is written, so there must be an item between these two.
        yield None
        while self._pending:
            yield Fill(*self._pending.popleft())
            yield None
        yield self._value


class Fill:
    """The references of a function."""

    def __init__(self, function: Any, state: Any) -> None:
        self._function, self._state = function, state

    def __reduce__(self) -> Any:
        return rebuild.filled, (self._function, self._state)


def definitions_in(value: object, is_by_value: Callable[[Any], bool]) -> list[Any]:
    """The functions and classes that a value refers to and that are sent by value, in order of discovery."""
    found: list[Any] = []
    waiting, met = deque([value]), {id(value)}
    kept: list[Any] = []  # Kept alive, so that no two have the same address.
    while waiting:
        each = waiting.popleft()
        if isinstance(each, types.FunctionType | type):
            if not is_by_value(each):
                continue
            found.append(each)
        for more in _parts(each):
            if type(more) not in _PLAIN and id(more) not in met:
                met.add(id(more))
                kept.append(more)
                waiting.append(more)
    return found


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, types.FunctionType):
        names = value.__globals__
        variables = [names[name] for name in global_names(value.__code__) if name in names]
        yield from variables
        for module in (each for each in variables if isinstance(each, types.ModuleType)):
            yield from (vars(module)[name] for name in all_names(value.__code__) if name in vars(module))
        for cell in value.__closure__ or ():
            yield from content_of(cell)
        yield from (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values(), *vars(value).values())
    elif isinstance(value, type):
        yield from (*value.__bases__, type(value), *vars(value).values())
    elif isinstance(value, property):
        yield from (value.fget, value.fset, value.fdel)
    elif isinstance(value, staticmethod | classmethod | types.MethodType):
        yield value.__func__
        yield getattr(value, "__self__", None)
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, functools._lru_cache_wrapper):
        yield value.__wrapped__
    elif isinstance(value, dict):
        yield from list(value.values())[:_ITEMS]
    elif isinstance(value, list | tuple | set | frozenset):
        yield from list(value)[:_ITEMS]
    elif not isinstance(value, types.ModuleType):
        yield type(value)
        yield from getattr(value, "__dict__", {}).values()
