"""Finds the path in a value to an object that cannot be pickled, or that is large.

Used only for error messages, in the thread that pickles: each step tries the references of a value, one after the
other.
"""

from __future__ import annotations

import functools
import reprlib
import types
from collections.abc import Callable, Iterator
from typing import Any

from gdispy.worker import by_value
from gdispy.worker.codes import content_of, global_names
from gdispy.worker.manner import Manner

#: Maximum number of items of a container to check, and of steps of a path.
_ITEMS = 1000
_STEPS = 30
_short = reprlib.Repr()
_short.maxother = _short.maxstring = 100
_DEFINITIONS = (types.FunctionType, type, types.ModuleType, functools._lru_cache_wrapper)


def unpicklable(value: Any, manner: Manner | None = None, begin: str = "") -> str:
    """The path from a value to the innermost object that cannot be pickled, and its representation, such as "work ->
    helper -> globals['connection'] = <sqlite3.Connection object at 0x7f...>"; '' if there is none. `begin` names the
    value."""

    def fails(each: Any) -> bool:
        try:
            by_value.dumps(each, manner)
        except Exception:
            return True
        return False

    steps, last = _follow(value, lambda found: next((each for each in found if fails(each[1])), None))
    return f"{' -> '.join([begin or name_of(value), *steps])} = {_shown(last)}" if steps else ""


def heaviest(value: Any, manner: Manner | None = None, begin: str = "") -> tuple[str, int]:
    """The path to the largest part of a value, and its size."""
    sizes: dict[int, int] = {}

    def size(each: Any) -> int:
        try:
            return len(by_value.dumps(each, manner))
        except Exception:
            return 0

    def choose(found: list[tuple[str, Any]]) -> tuple[str, Any] | None:
        if not found:
            return None
        best = max(found, key=lambda each: sizes.setdefault(id(each[1]), size(each[1])))
        last = sizes.get(0, 0)
        if 2 * sizes[id(best[1])] <= last:
            return None
        sizes[0] = sizes[id(best[1])]
        return best

    sizes[0] = size(value)
    steps, _ = _follow(value, choose)
    return " -> ".join([begin or name_of(value), *steps]), sizes[0]


def _follow(value: Any, choose: Callable[[list[tuple[str, Any]]], tuple[str, Any] | None]) -> tuple[list[str], Any]:
    """The chosen steps, and the object at their end."""
    steps: list[str] = []
    seen = [value]
    while len(steps) < _STEPS:
        parts = [each for each in _parts(value) if not any(each[1] is known for known in seen)]
        chosen = choose(parts)
        if chosen is None:
            break
        label, value = chosen
        is_named = not isinstance(value, types.FunctionType | type) or value.__name__ in label
        steps.append(label if is_named else f"{label} {name_of(value)}")
        seen.append(value)
    return steps, value


def _shown(value: Any) -> str:
    try:
        return _short.repr(value)
    except Exception:  # From a class whose `__repr__` fails.
        return f"a {type(value).__name__}"


def _parts(value: Any) -> list[tuple[str, Any]]:
    """The references of a value, by their source form; functions and classes last, since they may lead back."""
    found: list[tuple[str, Any]] = []
    for label, each in _all_parts(value):
        if type(each) not in (int, float, bool, str, type(None)) or len(str(each)) > 1000:
            found.append((label, each))
        if len(found) >= _ITEMS:
            break
    return sorted(found, key=lambda each: isinstance(each[1], _DEFINITIONS))


def _all_parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, types.FunctionType):
        yield from _of_function(value)
    elif isinstance(value, functools._lru_cache_wrapper):
        yield name_of(value.__wrapped__), value.__wrapped__
    elif isinstance(value, types.MethodType):
        yield f"self of {value.__func__.__name__}", value.__self__
        yield name_of(value.__func__), value.__func__
    elif isinstance(value, functools.partial):
        yield name_of(value.func), value.func
        yield from ((f"args[{place}]", each) for place, each in enumerate(value.args))
        yield from ((f"keywords[{name!r}]", each) for name, each in value.keywords.items())
    elif isinstance(value, type):
        own = vars(value).items()
        plain = ((name, getattr(each, "__func__", each)) for name, each in own if not name.startswith("__"))
        yield from ((name if isinstance(each, types.FunctionType) else f".{name}", each) for name, each in plain)
        yield from ((name_of(each), each) for each in (*value.__bases__, type(value)))
    elif isinstance(value, dict):
        yield from ((f"[{key!r:.60}]", each) for key, each in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{place}]", each) for place, each in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f"{{{each!r:.60}}}", each) for each in value)
    elif not isinstance(value, types.ModuleType) and type(value).__module__.partition(".")[0] != "gdispy":
        yield from _of_object(value)


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    code, names = function.__code__, function.__globals__
    for name in global_names(code):
        if name in names:
            each = names[name]
            is_defined = isinstance(each, _DEFINITIONS) and getattr(each, "__name__", "") == name
            yield (name if is_defined else f"globals[{name!r}]"), each
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        yield from ((f"closure[{name!r}]", each) for each in content_of(cell))
    defaults = function.__defaults__ or ()
    names_of_defaults = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    for name, each in zip(names_of_defaults, defaults, strict=True):
        yield f"defaults[{name!r}]", each
    yield from ((f"defaults[{name!r}]", each) for name, each in (function.__kwdefaults__ or {}).items())
    yield from ((f".{name}", each) for name, each in vars(function).items())


def _of_object(value: Any) -> Iterator[tuple[str, Any]]:
    try:
        own = dict(vars(value))
    except TypeError:
        own = {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            try:
                own.setdefault(name, getattr(value, name))
            except Exception:  # It was never set.
                continue
    yield from ((f".{name}", each) for name, each in own.items())
    if type(value).__module__ != "builtins":
        yield name_of(type(value)), type(value)


def name_of(value: Any) -> str:
    """The name of a function, a class or the class of an object."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return str(name) if name else type(value).__name__
