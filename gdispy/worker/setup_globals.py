"""Makes the global variables of `setup` visible to the computation.

Used in the template around setup. A function of the user's program is sent with a separate dictionary of globals, so a
name that setup, or a function that it calls, declares global is set in only one such dictionary. It is copied to those
of all functions that came with the computation, and to the builtins, which all of them see.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gdispy.worker.rebuild import ProgramModule

_MISSING = object()


class Namespaces:
    """The dictionaries of globals of a computation's code: those of its functions, and that of `__main__`."""

    def __init__(self, functions: Iterable[object]) -> None:
        self._all = [vars(sys.modules["__main__"]), *_dictionaries(functions)]

    def provide(self, names: Mapping[str, object]) -> None:
        """Add these names to all of them; names that a function brought itself are kept."""
        for each in self._all:
            for name, value in names.items():
                each.setdefault(name, value)

    def replace(self, name: str, before: str, after: str) -> None:
        """Replace one text under this name by another in all of them and in the builtins; names that a function brought
        itself are kept."""
        for each in (*self._all, vars(builtins)):
            found = each.get(name)
            if isinstance(found, str) and found == before:
                each[name] = after

    @contextlib.contextmanager
    def lending(self, names: Mapping[str, object]) -> Iterator[None]:
        """Add these names to all of them, and to the builtins, temporarily. Functions and classes among them see the
        names of the others, too."""
        common = self._all[-1] if len(self._all) > 1 else {}
        given = [(each, {**common, **each, **names}) for each in _dictionaries(names.values())]
        places = [*given, *((each, names) for each in (*self._all, vars(builtins)))]
        kept = [(each, {name: each[name] for name in added if name in each}) for each, added in places]
        for each, added in places:
            each.update(added)
        try:
            yield
        finally:
            # A class that is sent again is the same object, so temporary names in it are removed, too.
            for (each, added), (_, before) in reversed(list(zip(places, kept, strict=True))):
                for name in added.keys() - before.keys():
                    each.pop(name, None)
                each.update({name: before[name] for name in names if name in before})


class Globals:
    """The current globals of functions, and of those that they call, to detect later changes."""

    def __init__(self, functions: Iterable[object]) -> None:
        self._now = _dictionaries(functions)
        self._before = [dict(names) for names in self._now]

    def share(self) -> dict[str, object]:
        """Copy the globals that any of these functions has set since to all of them; returns those, by name."""
        changed: dict[str, object] = {}
        for names, before in zip(self._now, self._before, strict=True):
            for name, value in names.items():
                if before.get(name, _MISSING) is not value and not name.startswith("__"):
                    changed[name] = value
        if not changed:
            return {}
        vars(builtins).update(changed)
        vars(sys.modules["__main__"]).update(changed)
        for names in self._now:
            names.update(changed)
        return changed


def _dictionaries(functions: Iterable[object]) -> list[dict[str, object]]:
    """The globals of functions that came with the computation, each dictionary once."""
    found: list[dict[str, object]] = []
    waiting = [each for value in functions for each in _functions_of(value)]
    while waiting:
        names = _globals_of(waiting.pop())
        if _is_of_a_module(names) or any(names is known for known in found):
            continue
        found.append(names)
        for value in list(names.values()):
            waiting += _functions_of(value)
    return found


def _functions_of(value: object) -> list[object]:
    """A function, or the methods of a class that came with the computation."""
    if isinstance(value, type):
        own = vars(value).values() if value.__module__ == "__main__" else ()
        return [each for each in own if isinstance(each, types.FunctionType)]
    return [value] if isinstance(value, types.FunctionType | types.MethodType | functools.partial) else []


def _is_of_a_module(names: dict[str, object]) -> bool:
    """Definitions of a module of the node belong to that module; those of functions sent by value do not."""
    name = names.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) and name != "__main__" else None
    return module is not None and vars(module) is names and not isinstance(module, ProgramModule)


def _globals_of(function: Any) -> dict[str, object]:
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, types.MethodType):
        function = function.__func__
    found = getattr(function, "__globals__", None)
    return found if isinstance(found, dict) else {}
