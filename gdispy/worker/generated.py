"""Methods that Python's library generates for classes: for data classes, named tuples and protocols.

Standard library. Used when a class is written, and when one is created from a payload.

They have no source text, or depend on details of one version of Python, so they are not sent. `parts_of` returns which
attributes of a class were generated and from what, and `make` lets the library of this Python generate them. Attributes
that the program has changed since are sent like any other: that is detected by generating them again for a model of the
class, and comparing.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import logging
import types
import typing
from typing import Any

from gdispy.worker.codes import is_same

logger = logging.getLogger(__name__)

#: How to generate them: the name of a function of this module, and its arguments.
Recipe = tuple[str, tuple[Any, ...]]
_OF_DATACLASSES = (
    *("__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"),
    *("__setattr__", "__delattr__"),
)
#: Options that all versions accept.
_OPTIONS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
_OF_NAMED_TUPLES = ("__new__", "_make", "_replace", "__replace__", "__repr__", "_asdict", "__getnewargs__")
#: From Python 3.12 on; the last one in 3.12.0 and 3.12.1 only.
_MEMBERS, _DATA = "__protocol_attrs__", "__non_callable_proto_members__"
_ONLY_METHODS = "__callable_proto_members_only__"
#: From Python 3.13 on. Earlier versions take them for members.
_OF_CLASSES = ("__static_attributes__", "__firstlineno__")
#: A protocol, with the attributes of this version.
_PATTERN = vars(typing.SupportsInt)
_begin_protocol = vars(typing.Protocol)["__init_subclass__"].__func__


def parts_of(cls: Any) -> tuple[frozenset[str], list[Recipe]]:
    """The attributes that the library has generated, and their input."""
    names: set[str] = set()
    recipes: list[Recipe] = []
    for find in (_parts_of_dataclass, _parts_of_named_tuple, _parts_of_protocol):
        try:
            found = find(cls)
        except Exception as error:  # It has the marks of such a class, but was created otherwise.
            logger.debug("%s is sent with all of its methods: %s: %s", cls.__qualname__, type(error).__name__, error)
            continue
        if found is not None:
            names.update(found[0])
            recipes.append(found[1])
    return frozenset(names), recipes


def make(made: type, recipes: list[Recipe]) -> None:
    """Add the generated attributes to an otherwise complete class."""
    for kind, state in recipes:
        _MAKERS[kind](made, *state)


def _is_alike(one: Any, other: Any) -> bool:
    """Whether two functions are the same except for their class."""
    one, other = getattr(one, "__func__", one), getattr(other, "__func__", other)
    if type(one) is not types.FunctionType or type(other) is not types.FunctionType:
        return False
    if not is_same(one.__code__, other.__code__) or vars(one).keys() != vars(other).keys():
        return False
    defaults = one.__defaults__ or (), other.__defaults__ or ()
    if len(defaults[0]) != len(defaults[1]) or any(a is not b for a, b in zip(*defaults, strict=True)):
        return False
    cells = zip(one.__closure__ or (), other.__closure__ or (), strict=True)
    functions = [(a.cell_contents, b.cell_contents) for a, b in cells if type(b.cell_contents) is types.FunctionType]
    return all(_is_alike(a, b) for a, b in functions)


def _is_of(module: str, value: Any) -> bool:
    return getattr(getattr(value, "__func__", value), "__module__", None) == module


# Data classes


def _parts_of_dataclass(cls: type) -> tuple[list[str], Recipe] | None:
    own = vars(cls)
    fields, parameters = own.get("__dataclass_fields__"), own.get("__dataclass_params__")
    if type(fields) is not dict or parameters is None:
        return None
    slots = {name: getattr(parameters, name) for name in getattr(type(parameters), "__slots__", ())}
    has_post_init = hasattr(cls, "__post_init__")
    model = _model(cls, fields, slots, has_post_init)
    names = [name for name in _OF_DATACLASSES if name in own and _is_alike(own[name], vars(model).get(name))]
    # Functions of `dataclasses` itself, which claim the last class they were added to.
    shared = {name: value.__code__.co_name for name, value in own.items() if _is_shared(value)}
    state = (tuple(names), slots, has_post_init, shared, "__replace__" in own and "__replace__" not in shared)
    return ["__dataclass_params__", *names, *shared], ("dataclass", state)


def _is_shared(value: Any) -> bool:
    if type(value) is not types.FunctionType or value.__module__ != "dataclasses":
        return False
    return getattr(dataclasses, value.__code__.co_name, None) is value


def _model(cls: type, fields: dict[str, Any], options: dict[str, Any], has_post_init: bool) -> Any:
    """A data class with the same fields, including those of its bases."""
    names = {"__annotations__": {name: _kind(each) for name, each in fields.items()}, "__doc__": "A model."}
    model = type(cls.__name__, (), {**names, "__qualname__": cls.__qualname__, "__module__": cls.__module__})
    for name, each in fields.items():
        setattr(model, name, copy.copy(each))
    if has_post_init:
        model.__post_init__ = None  # type: ignore[attr-defined]
    return dataclasses.dataclass(**{name: options[name] for name in _OPTIONS})(model)


def _kind(each: Any) -> Any:
    """A type that only states the kind of field: text could be misunderstood."""
    kind = each._field_type
    if kind is dataclasses._FIELD_CLASSVAR:  # type: ignore[attr-defined]
        return typing.ClassVar
    return dataclasses.InitVar if kind is dataclasses._FIELD_INITVAR else object  # type: ignore[attr-defined]


def _make_dataclass(
    made: Any, names: tuple[str, ...], options: dict[str, Any], has_post_init: bool, shared: dict[str, str], own: bool
) -> None:
    fields = made.__dataclass_fields__
    model = _model(made, fields, options, has_post_init)
    parameters = model.__dataclass_params__
    for name, value in options.items():
        if hasattr(parameters, name):
            setattr(parameters, name, value)
    type.__setattr__(made, "__dataclass_params__", parameters)
    for name in names:
        function = vars(model)[name]
        for cell in function.__closure__ or ():
            if cell.cell_contents is model:
                cell.cell_contents = made
        if name == "__init__":
            types_ = {each: fields[each].type for each in function.__annotations__ if each in fields}
            function.__annotations__ = {**types_, "return": None}
        function.__module__ = made.__module__
        type.__setattr__(made, name, function)
    if not own and hasattr(model, "__replace__"):
        shared = {**shared, "__replace__": "_replace"}
    for name, title in shared.items():
        if hasattr(dataclasses, title):
            type.__setattr__(made, name, getattr(dataclasses, title))


# Named tuples


def _parts_of_named_tuple(cls: Any) -> tuple[list[str], Recipe] | None:
    own = vars(cls)
    if cls.__bases__[:1] != (tuple,) or type(own.get("_fields")) is not tuple or "_field_defaults" not in own:
        return None
    new = getattr(own.get("__new__"), "__func__", None)
    defaults = getattr(new, "__defaults__", None) or ()
    model = _named_tuple(cls.__name__, own["_fields"], defaults, cls.__module__)
    names = [name for name in _OF_NAMED_TUPLES if name in own and _is_alike(own[name], vars(model).get(name))]
    annotations = dict(new.__annotations__) if "__new__" in names else {}
    is_generic = _is_of("typing", own.get("__class_getitem__"))
    state = (own["_fields"], defaults, tuple(names), annotations, is_generic)
    return [*names, "__class_getitem__"] if is_generic else names, ("named tuple", state)


# The classes are kept, not the result of `vars`, which is emptied with the class.


def _named_tuple(name: str, fields: tuple[str, ...], defaults: tuple[Any, ...], module: str) -> Any:
    # Names with an underscore are present if they were replaced, and are replaced again.
    return collections.namedtuple(name, fields, rename=True, defaults=defaults, module=module)


def _make_named_tuple(
    made: Any,
    fields: tuple[str, ...],
    defaults: tuple[Any, ...],
    names: tuple[str, ...],
    annotations: dict[str, Any],
    is_generic: bool,
) -> None:
    model = _named_tuple(made.__name__, fields, defaults, made.__module__)
    if "_replace" in names and "__replace__" not in vars(made):
        names = (*names, "__replace__")
    for name in names:
        if name in vars(model):
            type.__setattr__(made, name, vars(model)[name])
    if annotations:
        made.__new__.__annotations__ = annotations
    if is_generic:
        # From Python 3.12 on, generic classes have it in C.
        of: Any = typing.Generic.__class_getitem__
        made.__class_getitem__ = classmethod(getattr(typing, "_generic_class_getitem", None) or of.__func__)


# Protocols


def _parts_of_protocol(cls: Any) -> tuple[list[str], Recipe] | None:
    own = vars(cls)
    if typing.Protocol not in cls.__mro__[1:]:
        return None
    names = [name for name in (_MEMBERS, _DATA, _ONLY_METHODS, *_OF_CLASSES) if name in own]
    if _is_of("typing", own.get("__subclasshook__")):
        names.append("__subclasshook__")
    members: list[str] | None = None
    if own.get("_is_protocol"):
        members = sorted(typing._get_protocol_attrs(cls))  # type: ignore[attr-defined]
    data = [name for name in members or () if not callable(getattr(cls, name, None))]
    return names, ("protocol", (members, data))


def _make_protocol(made: Any, members: list[str] | None, data: list[str]) -> None:
    _begin_protocol(made)
    if members is None or _MEMBERS not in _PATTERN:
        return  # Before Python 3.12 they are determined at each check.
    type.__setattr__(made, _MEMBERS, set(members))
    if _ONLY_METHODS in _PATTERN:
        type.__setattr__(made, _ONLY_METHODS, not data)
    elif getattr(made, "_is_runtime_protocol", False):
        type.__setattr__(made, _DATA, set(data))


_MAKERS: dict[str, Any] = {"dataclass": _make_dataclass, "named tuple": _make_named_tuple, "protocol": _make_protocol}
