"""What `setup` makes global, made visible to the computation.

Floor 1. Called by the template around setup. A function of the user's program travels with a dictionary of globals
of its own, so a name that setup, or a function that it calls, declares global is set in one such dictionary only. It
is put into those of all functions that travelled with the computation, and among the builtins, which all of them see.
"""

from __future__ import annotations

import builtins
import functools
import sys
import types
from collections.abc import Iterable
from typing import Any

_MISSING = object()


class Globals:
    """The globals of functions, and of those that they call, as they are now, to tell later what was set."""

    def __init__(self, functions: Iterable[Any]) -> None:
        self._now = _dictionaries(functions)
        self._before = [dict(names) for names in self._now]

    def share(self) -> dict[str, Any]:
        """Have all of these functions find what any of them has set since; that, by name."""
        changed: dict[str, Any] = {}
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


def _dictionaries(functions: Iterable[Any]) -> list[dict[str, Any]]:
    """The globals of functions that came with the computation, each dictionary once."""
    found: list[dict[str, Any]] = []
    waiting = list(functions)
    while waiting:
        names = _globals_of(waiting.pop())
        if _is_of_a_module(names) or any(names is known for known in found):
            continue
        found.append(names)
        waiting += [value for value in names.values() if isinstance(value, types.FunctionType)]
    return found


def _is_of_a_module(names: dict[str, Any]) -> bool:
    """What a module of the node defines is the module's own; functions that travelled by value have a copy."""
    name = names.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) and name != "__main__" else None
    return module is not None and vars(module) is names


def _globals_of(function: Any) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, types.MethodType):
        function = function.__func__
    found = getattr(function, "__globals__", None)
    return found if isinstance(found, dict) else {}
