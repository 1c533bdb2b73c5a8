"""Reductions of objects of Python's types that pickle refuses, or handles wrongly.

Standard library. Used by the picklers of `by_value.py`. Sentinels keep their identity at the other end.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import gc
import pickle
import struct
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable, Container
from typing import Any, Protocol

from gdispy.worker import rebuild
from gdispy.worker.definitions import definitions

Reduced = Any


class _Known(Protocol):
    @property
    def known(self) -> Container[bytes]: ...
    def is_by_value(self, module: str) -> bool: ...


class Reduces(Protocol):
    """The part of a pickler that these rules use."""

    is_of_computation: bool

    @property
    def manner(self) -> _Known: ...

    def is_by_value(self, obj: Any) -> bool: ...
    def known(self, obj: Any, identifier: bytes) -> Reduced: ...
    def note(self, obj: Any, identifier: bytes) -> None: ...


_OF_WRAPPERS = (*functools.WRAPPER_ASSIGNMENTS, "__wrapped__", "cache_parameters", "__dict__")


def _type_variable(reducer: Reduces, obj: Any) -> Reduced:
    if not reducer.is_by_value(obj):
        return NotImplemented
    identifier = definitions.identify(obj)
    kind = type(obj).__name__
    constraints = getattr(obj, "__constraints__", ())
    options: dict[str, Any] = {}
    for name in ("bound", "covariant", "contravariant", "infer_variance", "default"):
        value = getattr(obj, f"__{name}__", None)
        has_default = getattr(obj, "has_default", None)
        if value and not (name == "default" and has_default is not None and not has_default()):
            options[name] = value
    return rebuild.type_variable, (identifier, kind, obj.__name__, obj.__module__, constraints, options)


def _new_type(reducer: Reduces, obj: Any) -> Reduced:
    if not reducer.is_by_value(obj):
        return NotImplemented
    identifier = definitions.identify(obj)
    return rebuild.new_type, (identifier, obj.__name__, obj.__module__, obj.__supertype__)


def _alias_type(reducer: Reduces, obj: Any) -> Reduced:
    if not reducer.is_by_value(obj):
        return NotImplemented
    return rebuild.alias_type, (obj.__name__, obj.__module__, obj.__value__, obj.__type_params__)


def _cached(reducer: Reduces, obj: Any) -> Reduced:
    if not reducer.is_by_value(obj):
        return NotImplemented
    identifier = definitions.identify(obj)
    if identifier in reducer.manner.known:
        return reducer.known(obj, identifier)
    reducer.note(obj, identifier)
    parameters = obj.cache_parameters()
    own = {name: value for name, value in vars(obj).items() if name not in _OF_WRAPPERS}
    made = (identifier, obj.__wrapped__, parameters["maxsize"], parameters["typed"])
    return rebuild.cached, made, own, None, None, rebuild.fill_attributes


def library_method(reducer: Reduces, obj: Any) -> Reduced:
    """A method that a module of Python's library, or an installed one, has under its name, such as `random.random`: it
    is sent by name, not with the module's object, whose numbers would be the same in all workers."""
    owner = getattr(obj, "__self__", None)
    if owner is None or isinstance(owner, type | types.ModuleType):
        return NotImplemented
    for name in (type(owner).__module__, getattr(obj, "__module__", None)):
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is None or reducer.manner.is_by_value(str(name)):
            continue
        found: Any = vars(module).get(obj.__name__)
        if found is obj or (type(found) is type(obj) and found.__self__ is owner and found == obj):
            return getattr, (module, obj.__name__)
    return NotImplemented


def has_own_reduction(kind: Any) -> bool:
    """Whether a class defines how its objects are pickled."""
    if issubclass(kind, type | enum.Enum) or kind in copyreg.dispatch_table:
        return False
    of_all: Any = object
    is_plain = kind.__reduce_ex__ is of_all.__reduce_ex__ and kind.__reduce__ is of_all.__reduce__
    return not is_plain and bool(kind.__flags__ & 1 << 9)


def reduction_of(reducer: Reduces, obj: Any) -> Reduced:
    """Its reduction: a name, if there is only one such object, which the other end cannot find by that name."""
    reduced = obj.__reduce_ex__(5)
    if type(reduced) is not str:
        return reduced
    module = pickle.whichmodule(obj, reduced)  # type: ignore[attr-defined]
    if not reducer.manner.is_by_value(module):
        return reduced
    identifier = definitions.identify_sentinel(obj, is_new=True)
    attributes = dict(getattr(obj, "__dict__", {}))
    for each in type(obj).__mro__:
        for name in copyreg._slotnames(each):  # type: ignore[attr-defined]
            if hasattr(obj, name):
                attributes[name] = getattr(obj, name)
    return rebuild.singleton, (identifier, type(obj), attributes)


def _plain_object(reducer: Reduces, obj: object) -> Reduced:
    # Sentinels in arguments keep their identity, too. Those that only arguments have may be many.
    identifier = definitions.identify_sentinel(obj, reducer.is_of_computation)
    return NotImplemented if identifier is None else (rebuild.plain_object, (identifier,))


def _lock(reducer: Reduces, obj: Any) -> Reduced:
    return _LOCKS[type(obj)], ()


def _mapping_of(view: Any) -> Any:
    """The dictionary of a read-only view."""
    found = gc.get_referents(view)
    return found[0] if len(found) == 1 else dict(view)


def _memory(view: memoryview) -> Reduced:
    return rebuild.memory, (view.tobytes(), view.format, view.shape)


#: Locks arrive unlocked, even if they are held here: they would never be released at the other end.
_LOCKS: dict[type, Callable[[], Any]] = {type(make()): make for make in (threading.Lock, threading.RLock)}
_LOCKS[threading._PyRLock] = threading.RLock  # type: ignore[attr-defined]
Rule = Callable[[Any, Any], Reduced]
RULES: dict[type, Rule] = {
    typing.TypeVar: _type_variable,
    typing.ParamSpec: _type_variable,
    typing.NewType: _new_type,
    typing.ForwardRef: lambda _, obj: (rebuild.forward_reference, rebuild.about_reference(obj)),
    functools._lru_cache_wrapper: _cached,
    property: lambda _, obj: (property, (obj.fget, obj.fset, obj.fdel, obj.__doc__)),
    staticmethod: lambda _, obj: (staticmethod, (obj.__func__,)),
    classmethod: lambda _, obj: (classmethod, (obj.__func__,)),
    types.MappingProxyType: lambda _, obj: (types.MappingProxyType, (_mapping_of(obj),)),
    type({}.keys()): lambda _, obj: (rebuild.view_keys, (dict.fromkeys(obj),)),
    type({}.values()): lambda _, obj: (rebuild.view_values, (dict(enumerate(obj)),)),
    type({}.items()): lambda _, obj: (rebuild.view_items, (dict(obj),)),
    weakref.WeakKeyDictionary: lambda _, obj: (weakref.WeakKeyDictionary, (dict(obj),)),
    weakref.WeakValueDictionary: lambda _, obj: (weakref.WeakValueDictionary, (dict(obj),)),
    weakref.WeakSet: lambda _, obj: (weakref.WeakSet, (list(obj),)),
    object: _plain_object,
    types.BuiltinMethodType: library_method,
    struct.Struct: lambda _, obj: (struct.Struct, (obj.format,)),
    memoryview: lambda _, obj: _memory(obj),
    dataclasses.Field: lambda _, obj: (rebuild.field, ({name: getattr(obj, name) for name in obj.__slots__},)),
    functools.singledispatchmethod: lambda _, obj: (rebuild.dispatching_method, (obj.func, obj.dispatcher)),
    functools.cached_property: lambda _, obj: (rebuild.cached_property, (obj.func, obj.attrname, obj.__doc__)),
    types.GetSetDescriptorType: lambda _, obj: (rebuild.get_set, (obj.__objclass__, obj.__name__)),
    types.MemberDescriptorType: lambda _, obj: (rebuild.get_set, (obj.__objclass__, obj.__name__)),
    type(dataclasses._FIELD): lambda _, obj: (rebuild.sentinel, (obj.name,)),  # type: ignore[attr-defined]
    type(dataclasses.MISSING): lambda _, obj: (rebuild.sentinel, ("MISSING",)),
    type(dataclasses._HAS_DEFAULT_FACTORY): lambda _, obj: (rebuild.sentinel, ("_HAS_DEFAULT_FACTORY",)),  # type: ignore[attr-defined]
}
RULES.update(dict.fromkeys(_LOCKS, _lock))
if hasattr(typing, "TypeVarTuple"):
    RULES[typing.TypeVarTuple] = _type_variable
if hasattr(typing, "TypeAliasType"):
    RULES[typing.TypeAliasType] = _alias_type
if hasattr(dataclasses, "KW_ONLY"):
    RULES[type(dataclasses.KW_ONLY)] = lambda _, obj: (rebuild.sentinel, ("KW_ONLY",))
