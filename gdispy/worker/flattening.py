"""Webs of definitions that refer to each other over so many steps that a pickler, which follows them one within the
other, would end in too deep recursion.

Standard library. Called by `by_value.py` when that has happened.

All functions and classes are found first, without recursion. They are written one after the other, those that were
found last first, functions without what they refer to; then comes what each refers to, and last the value itself. What
runs while a payload is loaded, such as a `__setstate__`, finds all of it then.
"""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from gdispy.worker import rebuild
from gdispy.worker.codes import all_names, content_of, global_names

#: Items of a container that are looked into.
_ITEMS = 10_000
_PLAIN = frozenset((int, float, bool, str, bytes, type(None), complex))


class Flat:
    """A value, to be written so. `pending` are functions and what they refer to, as a pickler adds them meanwhile."""

    def __init__(self, value: object, found: list[Any], pending: deque[tuple[Any, Any]]) -> None:
        self._items = _Items(value, found, pending)

    def __reduce__(self) -> Any:
        return rebuild.last_of, (self._items,)


class _Items:
    def __init__(self, value: object, found: list[Any], pending: deque[tuple[Any, Any]]) -> None:
        self._value, self._found, self._pending = value, found, pending

    def __reduce__(self) -> Any:
        # A pickler asks for one item after it has written the one before.
        return list, (), None, self._all()

    def _all(self) -> Iterator[Any]:
        yield from reversed(self._found)
        # The next item is asked for before the one at hand is written, so there must be something between these two.
        yield None
        while self._pending:
            yield Fill(*self._pending.popleft())
            yield None
        yield self._value


class Fill:
    """What a function refers to."""

    def __init__(self, function: Any, state: Any) -> None:
        self._function, self._state = function, state

    def __reduce__(self) -> Any:
        return rebuild.filled, (self._function, self._state)


def definitions_in(value: object, is_by_value: Callable[[Any], bool]) -> list[Any]:
    """The functions and classes that a value refers to and that travel by value, in the order in which they are met."""
    found: list[Any] = []
    waiting, met = deque([value]), {id(value)}
    kept: list[Any] = []  # So that no two have one address.
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
