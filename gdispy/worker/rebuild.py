"""Creates functions, classes and modules of a program from a payload of `by_value.py`.

Standard library. For unpickling: in a client in the thread that accesses a result, in a worker and its template in
their only thread. The names of these functions are in payloads, and so in recovery files.

Each object is created empty first and filled afterwards, so that cycles are possible. An object with an identifier
(`definitions.py`) is created only once.

The globals of functions of one module are one dictionary in a payload. References of a computation are created by
`loading_computation`: then that is the dictionary of the module itself, under its name in `sys.modules`, so that other
picklers, such as that of `multiprocessing`, find the same names here.
"""

from __future__ import annotations

import abc
import builtins
import contextlib
import dataclasses
import enum
import functools
import importlib.machinery
import importlib.util
import os
import sys
import types
import typing
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gdispy.worker import generated
from gdispy.worker.definitions import by_path, definitions

_MAIN = ("__main__", "__mp_main__")
#: Whether objects created now belong to the computation of this process.
_is_loading_computation = False
#: Names of modules created here for references of functions.
spaces: set[str] = set()
#: By name the modules of the computation, and the names received with it.
_settled: dict[str, tuple[types.ModuleType, frozenset[str]]] = {}
#: Modules that are not in `sys.modules`: of references of arguments and results.
_others: weakref.WeakValueDictionary[tuple[str, bytes], types.ModuleType] = weakref.WeakValueDictionary()


class ProgramModule(types.ModuleType):
    """The received part of a module of the user's program."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"the module {self.__name__} was sent in part, without {name}, which the computation does not name: list "
            "the module in depends"
        )


@contextlib.contextmanager
def loading_computation() -> Iterator[None]:
    """Objects created meanwhile belong to the computation and must not change."""
    global _is_loading_computation
    _is_loading_computation = True
    try:
        yield
    finally:
        _is_loading_computation = False
        definitions.settle()
        for name in ("__main__", *spaces):
            module = sys.modules[name]
            _settled[name] = module, frozenset(vars(module))


def give_names(module: types.ModuleType, values: Mapping[str, Any]) -> None:
    """Set globals of a module that functions refer to; those of the computation are kept."""
    settled = _settled.get(module.__name__)
    if _is_loading_computation or settled is None or settled[0] is not module:
        vars(module).update(values)
        return
    vars(module).update({name: value for name, value in values.items() if name not in settled[1]})


def known(identifier: bytes, module: str, path: str) -> Any:
    """An object that was sent before, or came from here."""
    found = definitions.find(identifier)
    if found is None:
        found = by_path(module, path)
    if found is None:
        raise AttributeError(f"{path} of {module} no longer exists here")
    return found


def imported(name: str) -> Any:
    """A module."""
    found = sys.modules.get(name)
    return importlib.import_module(name) if found is None else found


def space(name: str, package: str | None, key: bytes, is_of_file: bool = False) -> types.ModuleType:
    """The module with the globals of functions. `key` is empty for the module of that name in the client, and else
    distinguishes it. For the computation it is the module of that name of this process."""
    if name in _MAIN:
        name = "__main__"
    is_named = _is_loading_computation and not key
    with definitions.lock:
        module = sys.modules.get(name) if is_named else _others.get((name, key))
        if not is_named and not key and name in _settled:
            # A module has one dictionary: arguments see the values that setup has set for the computation.
            return _settled[name][0]
        if is_named and not (module is None or name == "__main__" or isinstance(module, ProgramModule)):
            # The program has a module with the same name as one of Python's: that is not touched.
            is_named, module = False, _others.get((name, key))
        if module is None:
            module = ProgramModule(name)
            module.__package__ = package
            if is_of_file:
                _give_place(module, name, is_package=package == name)
            vars(module)["__space__"] = module  # It lives as long as its names.
            if is_named:
                sys.modules[name] = module
                spaces.add(name)
            else:
                _others[name, key] = module
    vars(module).setdefault("__builtins__", builtins)
    return module


def _give_place(module: types.ModuleType, name: str, is_package: bool) -> None:
    """The path that the module would have among the files of the computation, so that data beside it is found. The file
    does not exist."""
    stem = os.path.join(os.getcwd(), *name.split("."))
    path = os.path.join(stem, "__init__.py") if is_package else stem + ".py"
    places = [stem] if is_package else None
    loader = importlib.machinery.SourceFileLoader(name, path)
    module.__file__, module.__loader__ = path, loader
    module.__spec__ = importlib.util.spec_from_file_location(
        name, path, loader=loader, submodule_search_locations=places
    )
    if places:
        module.__path__ = places


def fill_space(module: types.ModuleType, values: Mapping[str, Any]) -> None:
    """Give a module these names."""
    vars(module).update(values)


def function(
    identifier: bytes, code: types.CodeType, where: Any, name: str, cells: tuple[types.CellType, ...] | None
) -> Any:
    """A function without its references."""

    def make() -> types.FunctionType:
        return types.FunctionType(code, vars(where), name, None, cells)

    return definitions.receive(identifier, make)[0]


def fill_function(made: Any, state: tuple[Any, ...]) -> None:
    """The references of a function."""
    where, values, parts, _modules, contents, is_named, attributes, own = state
    if _is_complete(made):
        return
    give_names(where, values)
    for module, names in parts:
        give_names(module, names)
    for cell, content in contents:
        cell.cell_contents = content
    for name, value in attributes.items():
        setattr(made, name, value)
    vars(made).update(own)
    if is_named and _is_loading_computation:
        vars(where)[made.__name__] = made


def _is_complete(made: Any) -> bool:
    """Whether it existed before this payload, and must not be changed by it."""
    return definitions.is_own(made) or (not _is_loading_computation and definitions.is_settled(made))


def filled(made: Any, state: tuple[Any, ...]) -> None:
    """The references of a function that was created before."""
    fill_function(made, state)


def last_of(items: list[Any]) -> Any:
    """The value after all its references."""
    return items[-1]


def cell(owner: bytes, place: int) -> types.CellType:
    """An empty cell of a closure; that of a function which exists already."""
    function = definitions.find(owner)
    found: types.CellType = types.CellType() if function is None else function.__closure__[place]
    return found


def same(value: Any) -> Any:
    """The contents of an object that was created before."""
    return value


def fill_cell(made: types.CellType, content: Any) -> None:
    """The contents of a cell."""
    made.cell_contents = content


# Classes


def class_(identifier: bytes, meta: type | None, name: str, bases: tuple[type, ...], begin: dict[str, Any]) -> Any:
    """A class with only `begin`, the attributes required at its creation."""
    return definitions.receive(identifier, lambda: _bare_class(meta or type(bases[0]), name, bases, begin))[0]


def _bare_class(meta: type, name: str, bases: tuple[type, ...], begin: dict[str, Any]) -> type:
    # The effects of metaclasses and bases of the program on a new class are part of the payload.
    make = abc.ABCMeta.__new__ if issubclass(meta, abc.ABCMeta) else type.__new__
    with definitions.lock, _without_hooks(bases):
        try:
            return make(meta, name, bases, dict(begin))
        except TypeError:  # Some bases in C allow only their own metaclass.
            return meta.__new__(meta, name, bases, dict(begin))


@contextlib.contextmanager
def _without_hooks(bases: tuple[type, ...]) -> Iterator[None]:
    """Suppress `__init_subclass__` of the bases."""
    owners = [each for base in bases for each in base.__mro__ if "__init_subclass__" in vars(each)]
    owners = [each for each in dict.fromkeys(owners) if each is not object and each.__flags__ & _HEAP_TYPE]
    before = [vars(each)["__init_subclass__"] for each in owners]
    for each in owners:
        type.__setattr__(each, "__init_subclass__", _no_hook)
    try:
        yield
    finally:
        for each, hook in zip(owners, before, strict=True):
            type.__setattr__(each, "__init_subclass__", hook)


_HEAP_TYPE = 1 << 9


@classmethod  # type: ignore[misc]
def _no_hook(cls: Any, **kwargs: Any) -> None: ...


def fill_class(made: Any, state: tuple[Any, ...]) -> None:
    """The contents of a class: its attributes, registered classes, and generated attributes; and names in
    annotations."""
    attributes, registered, is_named, recipes, *parts = state
    if _is_complete(made):
        return
    for module, names in parts:
        give_names(module, names)
    for name, value in attributes.items():
        set_attribute(made, name, value)
    generated.make(made, recipes)
    for each in registered:
        made.register(each)
    if is_named and definitions.is_worker:
        module = sys.modules.get("__main__" if made.__module__ in _MAIN else made.__module__)
        if module is not None and _is_loading_computation:
            vars(module)[made.__name__] = made
        elif module is not None and made.__module__ in _MAIN:
            # Not instead of the computation's value under this name: a class that is defined again is a different one.
            vars(module).setdefault(made.__name__, made)


def set_attribute(made: type, name: str, value: Any) -> None:
    """Set an attribute of a class, whatever its metaclass says."""
    if name == "__abstractmethods__":
        value = frozenset(value)
    try:
        type.__setattr__(made, name, value)
    except TypeError:  # A class in C, with a special way.
        setattr(made, name, value)
    except AttributeError:  # Some attributes cannot be set, and are correct already.
        return


#: Attributes of members that `enum` itself maintains.
OF_MEMBERS = frozenset(("_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_", "__dict__"))


def enum_class(
    identifier: bytes,
    meta: Any,
    name: str,
    bases: tuple[type, ...],
    begin: dict[str, Any],
    members: list[tuple[str, Any, Any]],
    boundary: str,
) -> Any:
    """An enumeration with its members: name, value, and the arguments of the member's data type."""
    return definitions.receive(identifier, lambda: _bare_enum(meta, name, bases, begin, members, boundary))[0]


def _bare_enum(
    meta: Any,
    name: str,
    bases: tuple[type, ...],
    begin: dict[str, Any],
    members: list[tuple[str, Any, Any]],
    boundary: str,
) -> Any:
    base = enum.EnumMeta.__new__
    with definitions.lock, _without_hooks(bases):
        space: Any = enum.EnumMeta.__prepare__(name, bases)
        for key, value in begin.items():
            space[key] = value
        if members:
            # The program's own ways to create members are not available in the payload.
            space["__new__"] = _new_member
            space["__init__"] = _nothing
        for key, value, raw in members:
            space[key] = (value, raw)
        kinds = getattr(enum, "FlagBoundary", None)  # Not available before Python 3.11.
        options = {} if not boundary or kinds is None else {"boundary": kinds[boundary]}
        made: Any = base(meta, name, bases, space, **options)
    if members:
        with contextlib.suppress(AttributeError):
            type.__delattr__(made, "__init__")
    return made


def _new_member(cls: Any, value: Any, raw: Any) -> Any:
    made = object.__new__(cls) if raw is None else cls._member_type_.__new__(cls, *raw)
    made._value_ = value
    return made


def _nothing(self: Any, *args: Any) -> None: ...


def fill_enum(made: Any, state: tuple[dict[str, Any], dict[str, dict[str, Any]], bool]) -> None:
    """Methods and other attributes of an enumeration, and those of its members."""
    attributes, of_members, is_named = state
    if not _is_complete(made):
        for name, values in of_members.items():
            vars(made.__members__[name]).update(values)
    fill_class(made, (attributes, [], is_named, []))


def member(of: Any, name: str) -> Any:
    """A member of an enumeration."""
    return of.__members__[name]


# Other objects


def type_variable(identifier: bytes, kind: str, name: str, module: str, args: tuple[Any, ...], options: Any) -> Any:
    """A TypeVar, ParamSpec or TypeVarTuple."""

    def make() -> Any:
        try:
            made = getattr(typing, kind)(name, *args, **options)
        except TypeError:  # An option of a later version, which a library provides here.
            later = {each: options[each] for each in ("default", "infer_variance") if each in options}
            made = getattr(typing, kind)(name, *args, **{key: options[key] for key in options.keys() - later.keys()})
            for each, value in later.items():
                setattr(made, f"__{each}__", value)
        made.__module__ = module
        return made

    return definitions.receive(identifier, make)[0]


def new_type(identifier: bytes, name: str, module: str, supertype: Any) -> Any:
    """The result of `typing.NewType`."""

    def make() -> Any:
        made: Any = typing.NewType(name, supertype)  # type: ignore[misc]
        made.__module__ = module
        return made

    return definitions.receive(identifier, make)[0]


def forward_reference(text: str, is_argument: bool, module: str | None, is_class: bool | None) -> Any:
    """A type named in text, for other types of `typing`."""
    return typing.ForwardRef(text, is_argument=is_argument, module=module, is_class=bool(is_class))


def about_reference(obj: Any) -> tuple[Any, ...]:
    """What that is made from."""
    return tuple(getattr(obj, f"__forward_{name}__", None) for name in ("arg", "is_argument", "module", "is_class"))


def alias_type(name: str, module: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    """The result of the statement `type`, from Python 3.12 on."""
    make: Callable[..., Any] = getattr(typing, "TypeAliasType")  # noqa: B009 (not there before Python 3.12)
    return make(name, value, type_params=parameters)


def singleton(identifier: bytes, kind: type, attributes: Mapping[str, Any]) -> Any:
    """The only object of its name, according to its class."""

    def make() -> Any:
        made: Any = object.__new__(kind)
        for name, value in attributes.items():
            object.__setattr__(made, name, value)
        return made

    return definitions.receive_sentinel(identifier, make)


def plain_object(identifier: bytes) -> object:
    """An `object()` that the program uses as a sentinel."""
    return definitions.receive_sentinel(identifier)


def of_types(name: str) -> Any:
    """A type of Python, such as that of functions."""
    return getattr(types, name)


def enum_meta() -> Any:
    """The class of enumerations, renamed in Python 3.11."""
    return enum.EnumMeta


def field(values: dict[str, Any]) -> Any:
    """A field of a data class. Its attributes differ between versions."""
    made: Any = dataclasses.field()
    for name, value in values.items():
        if name in made.__slots__:
            setattr(made, name, value)
    return made


def cached_property(function: Any, name: str | None, text: str | None) -> Any:
    """A property that is computed once. Before Python 3.12 it has a lock."""
    made = functools.cached_property(function)
    made.attrname, made.__doc__ = name, text
    return made


def dispatching_method(function: Any, dispatcher: Any) -> Any:
    """A method under `functools.singledispatchmethod`. From Python 3.13 on it has a cache."""
    made = functools.singledispatchmethod(function)
    made.dispatcher = dispatcher
    return made


def cached(identifier: bytes, wrapped: Any, maxsize: int | None, typed: bool) -> Any:
    """A function under `functools.lru_cache`, with nothing in its cache."""
    return definitions.receive(identifier, lambda: functools.lru_cache(maxsize, typed)(wrapped))[0]


def fill_attributes(made: Any, attributes: Mapping[str, Any]) -> None:
    """The attributes of an object that has a dictionary."""
    vars(made).update(attributes)


#: Sentinels for missing values; compared by identity.
SENTINELS: dict[str, Any] = {
    "MISSING": dataclasses.MISSING,
    "KW_ONLY": getattr(dataclasses, "KW_ONLY", None),
    "_FIELD": dataclasses._FIELD,  # type: ignore[attr-defined]
    "_FIELD_CLASSVAR": dataclasses._FIELD_CLASSVAR,  # type: ignore[attr-defined]
    "_FIELD_INITVAR": dataclasses._FIELD_INITVAR,  # type: ignore[attr-defined]
    "_HAS_DEFAULT_FACTORY": dataclasses._HAS_DEFAULT_FACTORY,  # type: ignore[attr-defined]
}


def sentinel(name: str) -> Any:
    """One of them."""
    return SENTINELS[name]


def view_keys(of: dict[Any, Any]) -> Any:
    """The keys of a dictionary, as a view."""
    return of.keys()


def view_values(of: dict[Any, Any]) -> Any:
    """Its values."""
    return of.values()


def view_items(of: dict[Any, Any]) -> Any:
    """Its items."""
    return of.items()


def memory(data: bytes, format_: str, shape: tuple[int, ...]) -> memoryview:
    """A view of memory."""
    view = memoryview(data)
    return view.cast("B").cast(format_, shape) if format_ != "B" or len(shape) != 1 else view  # type: ignore[call-overload]


def get_set(owner: type, name: str) -> Any:
    """A descriptor of a class in C."""
    return vars(owner)[name]
