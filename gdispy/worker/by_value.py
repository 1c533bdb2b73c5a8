"""Pickles functions, classes and modules of a user's program by value, not by name.

Standard library and dill. Runs in the thread that submits, and in a worker's only thread.

Objects that nodes have are pickled by name: Python's library, and installed packages. All others are pickled by value:
definitions of `__main__` and of the program's own modules, and objects that no module has under their name. Each is
written as an empty object and its contents (`rebuild.py`), so that cycles are possible. A function includes the globals
that its code names, no others; a module of the program, which nodes do not have, includes the names that are used of
it. The cells of closures, and objects with several references, stay shared within a payload.

dill is tried for objects that C pickle and this module refuse.
"""

from __future__ import annotations

import abc
import enum
import io
import marshal
import pickle
import sys
import types
from collections import deque
from typing import Any

from gdispy.worker import generated, rebuild
from gdispy.worker.codes import (
    all_names,
    attribute_chains,
    content_of,
    global_names,
    has_imports,
    names_in_annotations,
    names_in_queries,
    without_sets,
)
from gdispy.worker.definitions import by_path, definitions
from gdispy.worker.flattening import Flat, definitions_in
from gdispy.worker.imported_names import imports_of_code
from gdispy.worker.manner import MAIN, MODULES, OF_NODES, Findings, Manner
from gdispy.worker.open_files import FILES, OpenFile, reduce_file
from gdispy.worker.reductions import RULES, Rule, has_own_reduction, library_method, reduction_of

_VERSION = sys.version_info[:2]
_Reduced = Any
#: Set for all classes except those in C that exist from the start.
_HEAP_TYPE = 1 << 9
#: Types of Python that no module has under their names.
_NAMES_OF_TYPES = {each: name for name, each in vars(types).items() if isinstance(each, type)}
#: Attributes with the path of a module's file; on a node it would be among the files of the computation.
OF_FILES = frozenset(("__file__", "__path__", "__spec__", "__loader__", "__cached__"))
#: Attributes that each class gets when it is created, or as an argument.
_OF_CLASSES = frozenset(
    ("__dict__", "__weakref__", "__module__", "__qualname__", "__slots__", "__slotnames__", "_abc_impl", "__doc__")
)
#: Attributes that a class must have from its creation.
_GIVEN = ("__module__", "__doc__", "__parameters__", "_is_protocol")
#: Attributes that define a structure and the like of `ctypes`.
_OF_CTYPES = ("_fields_", "_pack_", "_layout_", "_anonymous_", "_type_", "_length_")
_PLAIN = frozenset((int, float, bool, str, bytes, type(None), complex))
#: Attributes that a module gets when it is created.
_OF_MODULES = ("__builtins__", "__loader__", "__spec__")
#: Attributes that `enum` creates for each enumeration.
_OF_ENUMS = frozenset(
    (
        *("_member_names_", "_member_map_", "_value2member_map_", "_unhashable_values_", "_unhashable_values_map_"),
        *("_hashable_values_", "_member_type_", "_use_args_", "_flag_mask_", "_singles_mask_", "_all_bits_"),
        *("_boundary_", "_inverted_", "__annotations_cache__"),
    )
)


#: The default. A worker has a different one.
default = Manner()


def dumps(value: object, manner: Manner | None = None, collect: Any = None, findings: Findings | None = None) -> bytes:
    """Serialise `value`; `collect` is pickle's buffer callback. Raises what pickle raises."""
    return written(value, Pickler, manner, collect, findings)


def written(
    value: object, kind: Any, manner: Manner | None, collect: Any = None, findings: Findings | None = None
) -> bytes:
    """The same with a given pickler, and, if that fails, with dill and the same rules."""
    sink = io.BytesIO()
    try:
        kind(sink, manner or default, collect, findings).dump(value)
        return sink.getvalue()
    except OpenFile:
        raise
    except RecursionError:
        return _written_flat(value, kind, manner or default, collect, findings)
    except Exception as first:
        try:
            return _with_dill(value, kind, manner or default, findings)
        except Exception:
            raise first from None


def _written_flat(value: object, kind: Any, manner: Manner, collect: Any, findings: Findings | None) -> bytes:
    sink = io.BytesIO()
    pickler = kind(sink, manner, collect, findings)
    pickler.pending = deque()
    try:
        pickler.dump(Flat(value, definitions_in(value, pickler.is_by_value), pickler.pending))
    except RecursionError as error:
        raise pickle.PicklingError(f"it is nested too deeply: {error}") from None
    return sink.getvalue()


class Space:
    """The globals of the functions of one module, in one payload."""

    def __init__(self, name: str, package: str | None, key: bytes, is_of_file: bool) -> None:
        self.about = name, package, key, is_of_file
        #: Whether it is a module with a file, which would exist at the other end, too.
        self.is_of_file = is_of_file

    def __reduce__(self) -> _Reduced:
        return rebuild.space, self.about


class _Attribute:
    """An attribute of a module that exists at the other end."""

    def __init__(self, module: types.ModuleType, name: str) -> None:
        self._about = module, name

    def __reduce__(self) -> _Reduced:
        return getattr, self._about


class _Hollow:
    """A cell of a closure, without its contents: by a function that has it, and its index there."""

    def __init__(self, owner: bytes, place: int) -> None:
        self.about = owner, place

    def __reduce__(self) -> _Reduced:
        return rebuild.cell, self.about


class Reducer:
    """The rules, for picklers."""

    def __init__(self, manner: Manner, findings: Findings | None) -> None:
        self.manner = manner
        self.is_of_computation = findings is not None
        self.findings = Findings() if findings is None else findings
        #: Functions and their references, if they are written separately (`flattening.py`).
        self.pending: deque[tuple[Any, Any]] | None = None
        self._spaces: dict[int, Any] = {}
        #: By classes: their objects that exist at the other end, by identity; and whether they define how their objects
        #: are pickled.
        self._kinds: dict[type, tuple[dict[int, tuple[Any, str]], bool]] = {}
        self._hollows: dict[int, tuple[types.CellType, _Hollow]] = {}

    def reducer_override(self, obj: Any) -> _Reduced:
        """Called by pickle for each object that is not a number, text or container."""
        kind = type(obj)
        rule = _RULES.get(kind)
        if rule is not None:
            return rule(self, obj)
        about = self._kinds.get(kind)
        if about is None:
            about = self._kinds[kind] = self._held_by(kind), has_own_reduction(kind)
        held, reduces_itself = about
        if held and id(obj) in held:
            return getattr, held[id(obj)]
        if reduces_itself:
            return reduction_of(self, obj)
        if issubclass(kind, type):
            return self._class(obj)
        if issubclass(kind, _FAMILIES):
            return self._module(obj) if isinstance(obj, types.ModuleType) else reduce_file(obj)
        if type(kind) is type:
            return NotImplemented
        if issubclass(kind, enum.Enum) and self.is_by_value(kind):
            name = obj._name_
            return (rebuild.member, (kind, name)) if kind.__members__.get(name) is obj else NotImplemented
        return NotImplemented

    def is_by_value(self, obj: Any) -> bool:
        """Whether a function, class or the like cannot be found by name at the other end."""
        module = getattr(obj, "__module__", None)
        if not isinstance(module, str) or self.manner.is_by_value(module):
            return True
        return not _is_found(obj, module)

    def known(self, obj: Any, identifier: bytes) -> _Reduced:
        return rebuild.known, (identifier, obj.__module__, getattr(obj, "__qualname__", obj.__name__))

    def note(self, obj: Any, identifier: bytes) -> None:
        self.findings.defined.add(identifier)
        self.findings.objects.append(obj)
        self.findings.titles.add(f"{obj.__module__}.{obj.__qualname__}")

    def space(self, names: dict[str, Any], owner: Any = None) -> Any:
        """The stand-in for the globals of functions: a module that is imported there, or one that is created."""
        found = self._spaces.get(id(names))
        if found is None:
            name = names.get("__name__")
            name = name if isinstance(name, str) else "__main__"
            module = sys.modules.get(name)
            is_named = module is not None and vars(module) is names
            key = definitions.birthplace()
            if not is_named and owner is not None:
                key += definitions.number_of(names, owner).to_bytes(8, "big")
            is_there = is_named and not self.manner.is_by_value(name)
            is_of_file = is_named and name not in MAIN and isinstance(names.get("__file__"), str)
            found = module if is_there else Space(name, names.get("__package__"), key, is_of_file)
            self._spaces[id(names)] = found, names
            return found
        return found[0]

    def _held_by(self, kind: type) -> dict[int, tuple[Any, str]]:
        """Objects of a class that exist at the other end: attributes of its module, if that is found there by name; and
        class attributes, such as a sentinel, if the other end has the class."""
        if issubclass(kind, type | enum.Enum) or not kind.__flags__ & _HEAP_TYPE:
            return {}
        if not self.is_by_value(kind):  # For example `os.environ`: the process's object is meant, not a copy of ours.
            module: Any = sys.modules.get(kind.__module__)
            names = {} if module is None else vars(module)
            return {id(value): (module, name) for name, value in names.items() if type(value) is kind}
        if definitions.identify(kind) not in self.manner.known:
            return {}
        return {id(value): (kind, name) for name, value in vars(kind).items() if type(value) is kind}

    # Functions

    def _function(self, obj: types.FunctionType) -> _Reduced:
        if not self.is_by_value(obj):
            return NotImplemented
        identifier = definitions.identify(obj)
        if identifier in self.manner.known:
            return self.known(obj, identifier)
        self.note(obj, identifier)
        code, names = obj.__code__, obj.__globals__
        where = self.space(names, obj)
        package = names.get("__package__")
        package = package if isinstance(package, str) else ""
        self.findings.codes.append((code, package))
        values: dict[str, Any] = {}
        if isinstance(where, Space):
            given = {name: names[name] for name in (*global_names(code), *names_in_queries(code)) if name in names}
            values = {name: value for name, value in given.items() if not _is_of_nodes(name, value, code)}
            if where.is_of_file:
                values = {name: value for name, value in values.items() if name not in OF_FILES}
        variables = dict(values)
        values = {name: self._as_it_is_there(value, name) for name, value in values.items()}
        cells = obj.__closure__
        contents = [
            (self._hollow(each, identifier, place), *map(self._as_it_is_there, content_of(each)))
            for place, each in enumerate(cells or ())
        ]
        modules, parts = self._of_modules(code, variables, cells, package)
        attributes = {
            "__qualname__": _text(obj.__qualname__),
            "__module__": _text(obj.__module__),
            "__doc__": obj.__doc__,
            "__defaults__": obj.__defaults__,
            "__kwdefaults__": obj.__kwdefaults__,
            "__annotations__": dict(_annotations(obj)),
        }
        if getattr(obj, "__type_params__", ()):
            attributes["__type_params__"] = obj.__type_params__  # type: ignore[attr-defined]
        more = _mentioned(obj, names)
        if more:
            parts.append((where if isinstance(where, Space) else self.space(names), more))
        is_named = "." not in obj.__qualname__ and _is_found(obj, obj.__module__ or "")
        full = [each for each in contents if len(each) == 2]
        state = (where, values, parts, modules, full, is_named, attributes, dict(vars(obj)))
        hollow = None if cells is None else tuple(each[0] for each in contents)
        made = (identifier, code, where, _text(obj.__name__), hollow)
        if self.pending is not None:
            self.pending.append((obj, state))
            return rebuild.function, made
        return rebuild.function, made, state, None, None, rebuild.fill_function

    def _as_it_is_there(self, value: Any, name: str = "") -> Any:
        """A variable's value, or a stand-in for one that the other end has: a module, including the names that code
        uses; lists of the interpreter; and imports from a module that is sent as a file."""
        if isinstance(value, types.ModuleType) and self._is_own_module(value):
            return self.space(vars(value))
        if value is sys.path or value is sys.modules:
            return _Attribute(sys, "path" if value is sys.path else "modules")
        if self.manner.as_files and type(value) not in _PLAIN and not isinstance(value, types.ModuleType):
            for each in sorted(self.manner.as_files & sys.modules.keys()):
                if vars(sys.modules[each]).get(name) is value:
                    return _Attribute(sys.modules[each], name)
        return value

    def _hollow(self, of: types.CellType, owner: bytes, place: int) -> _Hollow:
        found = self._hollows.get(id(of))
        if found is None:
            found = self._hollows[id(of)] = of, _Hollow(owner, place)
        return found[1]

    def _cell(self, obj: types.CellType) -> _Reduced:
        hollow, *content = (self._hollow(obj, b"", 0), *content_of(obj))
        if not content:
            return rebuild.same, (hollow,)
        return rebuild.same, (hollow,), content[0], None, None, rebuild.fill_cell

    def _of_modules(
        self, code: types.CodeType, values: dict[str, Any], cells: Any, package: str = ""
    ) -> tuple[list[Any], list[tuple[Any, dict[str, Any]]]]:
        """Modules to be imported, since code reads them as attributes of others; and attributes of modules of the
        program that code reads."""
        variables = dict(values)
        for name, each in zip(code.co_freevars, cells or (), strict=False):
            variables.update((name, content) for content in content_of(each))
        found = {name: value for name, value in variables.items() if isinstance(value, types.ModuleType)}
        imports: list[Any] = []
        parts: list[tuple[Any, dict[str, Any]]] = []
        for name, module in found.items():
            if self._is_own_module(module):
                for chain in attribute_chains(code).get(name, ()):
                    self._take_part(module, chain, parts, imports)
            else:
                self._take_submodules(module, all_names(code), imports)
        if has_imports(code):
            # `import a.b` in code binds `a`, of which it may use other modules that the program has imported.
            for name in sorted({each.partition(".")[0] for each in imports_of_code(code, package)}):
                top: Any = sys.modules.get(name)
                if isinstance(top, types.ModuleType):
                    self._take_submodules(top, all_names(code), imports)
        return imports, parts

    def _take_submodules(self, module: types.ModuleType, names: frozenset[str], imports: list[Any]) -> None:
        """Import the modules below this one that code names. Those of the program are then sent as files, too, since
        modules sent by value are not attributes of a package."""
        for below in _submodules(module, names):
            if self._is_own_module(below):
                self.findings.whole.add(below.__name__)
            imports.append(below)

    def _take_part(self, module: Any, chain: tuple[str, ...], parts: list[Any], imports: list[Any]) -> None:
        if not chain:
            self.findings.whole.add(module.__name__)
            return
        name = chain[0]
        if name not in vars(module):
            if not name.startswith("__"):
                self.findings.whole.add(module.__name__)
            return
        value = vars(module)[name]
        parts.append((self.space(vars(module)), {name: self._as_it_is_there(value)}))
        if isinstance(value, types.ModuleType):
            if self._is_own_module(value):
                self._take_part(value, chain[1:], parts, imports)
            else:
                self._take_submodules(value, frozenset(chain[1:]), imports)

    def _is_own_module(self, module: types.ModuleType) -> bool:
        name = module.__name__
        return sys.modules.get(name) is module and self.manner.is_by_value(name)

    def _module(self, obj: types.ModuleType) -> _Reduced:
        if self._is_own_module(obj):
            self.findings.whole.add(obj.__name__)  # It is used as a value, so any of its names may be needed.
            return rebuild.same, (self.space(vars(obj)),)
        name = obj.__name__
        if sys.modules.get(name) is obj or _can_be_imported(obj):
            return rebuild.imported, (name,)
        values = {key: value for key, value in vars(obj).items() if key not in _OF_MODULES}
        return rebuild.same, (self.space(vars(obj), obj),), values, None, None, rebuild.fill_space

    def _method(self, obj: types.MethodType) -> _Reduced:
        by_name = library_method(self, obj)
        if by_name is not NotImplemented:
            return by_name
        if type(obj.__func__) is types.FunctionType and self.is_by_value(obj.__func__):
            return types.MethodType, (obj.__func__, obj.__self__)
        return NotImplemented

    def _code(self, obj: types.CodeType) -> _Reduced:
        from gdispy.worker import pickling, source  # They import this module.

        return pickling._load_code, (
            _VERSION,
            marshal.dumps(without_sets(obj), 2),
            obj.co_name,
            source.text_of_code(obj),
        )

    # Classes

    def _class(self, obj: Any) -> _Reduced:
        if not obj.__flags__ & _HEAP_TYPE:
            name = _NAMES_OF_TYPES.get(obj)
            return NotImplemented if name is None else (rebuild.of_types, (name,))
        if obj is enum.EnumMeta:
            return rebuild.enum_meta, ()
        if not self.is_by_value(obj):
            return NotImplemented
        identifier = definitions.identify(obj)
        if identifier in self.manner.known:
            return self.known(obj, identifier)
        self.note(obj, identifier)
        return self._define(obj, identifier)

    def _define(self, obj: Any, identifier: bytes) -> _Reduced:
        if isinstance(obj, enum.EnumMeta):
            return self._enum(obj, identifier)
        own = vars(obj)
        begin = _begin(obj)
        slots = own.get("__slots__")
        if slots is not None:
            begin["__slots__"] = tuple(slots) if not isinstance(slots, str | dict) else slots
        # Metaclasses of `ctypes` have no names, and are those of the bases.
        meta = None if type(obj).__module__ == "_ctypes" else type(obj)
        made = (identifier, meta, _text(obj.__name__), obj.__bases__, begin)
        of_library, recipes = generated.parts_of(obj)
        there = {name for name, value in own.items() if name in of_library or is_made_anew(obj, name, value)}
        attributes = {name: value for name, value in own.items() if name not in there}
        if "__abstractmethods__" in attributes:
            attributes["__abstractmethods__"] = tuple(sorted(obj.__abstractmethods__))
        state = (attributes, _registered(obj), is_named(obj), recipes, *self._annotated(obj))
        return rebuild.class_, made, state, None, None, rebuild.fill_class

    def _annotated(self, cls: type) -> list[tuple[Any, dict[str, Any]]]:
        """The names in the annotations of a class."""
        module = sys.modules.get(cls.__module__)
        if module is None or vars(module).get(cls.__name__) is not cls:
            return []
        # Not through the attribute, which would create annotations.
        names = names_in_annotations(vars(cls).get("__annotations__") or {}, vars(module))
        return [(self.space(vars(module)), names)] if names else []

    def _enum(self, obj: Any, identifier: bytes) -> _Reduced:
        own = vars(obj)
        begin = _begin(obj)
        kind = obj._member_type_
        members = [(name, each._value_, _raw(kind, each)) for name, each in obj.__members__.items()]
        boundary = getattr(own.get("_boundary_"), "name", "")
        made = (identifier, type(obj), obj.__name__, obj.__bases__, begin, members, boundary)
        attributes = {
            name: value
            for name, value in own.items()
            if name not in obj.__members__ and name not in _OF_ENUMS and not is_made_anew(obj, name, value)
        }
        of_members = {
            name: {key: value for key, value in vars(each).items() if key not in rebuild.OF_MEMBERS}
            for name, each in obj.__members__.items()
            if each._name_ == name
        }
        state = (attributes, {name: values for name, values in of_members.items() if values}, is_named(obj))
        return rebuild.enum_class, made, state, None, None, rebuild.fill_enum


class Pickler(Reducer, pickle.Pickler):
    """Those rules, with C pickle for everything else."""

    def __init__(self, sink: Any, manner: Manner, collect: Any = None, findings: Findings | None = None) -> None:
        pickle.Pickler.__init__(self, sink, 5, buffer_callback=collect)
        Reducer.__init__(self, manner, findings)


def _with_dill(value: object, kind: Any, manner: Manner, findings: Findings | None) -> bytes:
    import dill

    class _Pickler(kind.__mro__[1], dill.Pickler):  # type: ignore[misc]
        def __init__(self, sink: Any) -> None:
            dill.Pickler.__init__(self, sink, protocol=5)
            kind.__mro__[1].__init__(self, manner, findings)

    sink = io.BytesIO()
    _Pickler(sink).dump(value)
    return sink.getvalue()


def _is_of_nodes(name: str, value: Any, code: types.CodeType) -> bool:
    """Whether a global is provided by nodes under this name: their own names, and modules, unless the program's value
    under that name cannot be meant."""
    if name in OF_NODES:
        return True
    if name not in MODULES or isinstance(value, types.ModuleType):
        return False
    chains = attribute_chains(code).get(name, ())
    return bool(chains) and all(chain and not hasattr(value, chain[0]) for chain in chains)


def _is_found(obj: Any, module: str) -> bool:
    """Whether a module holds this object under its name."""
    path = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    return isinstance(path, str) and "<locals>" not in path and by_path(module, path) is obj


def is_named(cls: type) -> bool:
    return "." not in cls.__qualname__ and _is_found(cls, cls.__module__)


def _annotations(obj: Any) -> dict[str, Any]:
    try:
        return obj.__annotations__ or {}
    except Exception:  # They are evaluated only here, from Python 3.14 on, and may use undefined names.
        return {}


def _mentioned(function: types.FunctionType, names: dict[str, Any]) -> dict[str, Any]:
    """References of a function that are not globals: in annotations, and subclasses of a class."""
    if names.get("__name__") not in sys.modules:
        return {}
    found = names_in_annotations(_annotations(function), names)
    if "__subclasses__" in all_names(function.__code__):
        owner = by_path(function.__module__, function.__qualname__.rpartition(".")[0])
        classes = [owner, *(names.get(name) for name in global_names(function.__code__))]
        subclasses = [below for each in classes if type(each) is type for below in _subclasses(each)]
        if subclasses:
            found[f"subclasses for {function.__qualname__}"] = subclasses
    return found


def _subclasses(cls: type) -> list[type]:
    found: list[type] = cls.__subclasses__() if cls is not object else []
    return [*found, *(below for each in found for below in _subclasses(each))]


def _submodules(module: types.ModuleType, names: frozenset[str]) -> list[types.ModuleType]:
    """The modules below this one that code names, such as `futures` of `concurrent`."""
    found: list[types.ModuleType] = []
    for name in names if hasattr(module, "__path__") else ():
        below = vars(module).get(name)  # Not `getattr`: a module may warn of names that it has no more.
        if isinstance(below, types.ModuleType) and sys.modules.get(f"{module.__name__}.{name}") is below:
            found += [below, *_submodules(below, names)]
    return sorted(found, key=lambda each: each.__name__)


def _can_be_imported(module: types.ModuleType) -> bool:
    spec = getattr(module, "__spec__", None)
    return spec is not None and module.__name__ in sys.builtin_module_names


def _begin(cls: type) -> dict[str, Any]:
    own = vars(cls)
    given = (*_GIVEN, *_OF_CTYPES) if type(cls).__module__ == "_ctypes" else _GIVEN
    return {"__qualname__": _text(cls.__qualname__), **{name: _text(own[name]) for name in given if name in own}}


def _text(value: Any) -> Any:
    """One text for all equal ones: a pickle contains it once, also for a received definition."""
    return sys.intern(value) if type(value) is str else value


def is_made_anew(cls: type, name: str, value: Any) -> bool:
    """Whether an attribute is created with the class."""
    if name in _OF_CLASSES or (type(cls).__module__ == "_ctypes" and name in _OF_CTYPES):
        return True
    if type(value).__module__ == "_ctypes" and type(value).__name__ == "CField":
        return True
    if isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
        return value.__objclass__ is cls
    return False


def _registered(cls: type) -> list[type]:
    """Classes registered with an abstract class."""
    if not isinstance(cls, abc.ABCMeta):
        return []
    get_dump = getattr(abc, "_get_dump", None)
    if get_dump is None:
        return []
    found = [reference() for reference in get_dump(cls)[0]]
    return sorted((each for each in found if each is not None), key=lambda each: (each.__module__, each.__qualname__))


def _raw(kind: type, member: Any) -> Any:
    """The arguments for the data type of an enumeration's member; None if there are none."""
    if kind is object or getattr(kind, "__new__", None) is object.__new__:
        return None
    get = getattr(kind, "__getnewargs__", None)
    if get is not None:
        return tuple(get(member))
    value = member._value_
    return value if isinstance(value, tuple) else (value,)


#: Types whose subclasses are sent like them.
_FAMILIES = (types.ModuleType, *FILES)
_RULES: dict[type, Rule] = {
    **RULES,
    types.FunctionType: Reducer._function,
    type: Reducer._class,
    abc.ABCMeta: Reducer._class,
    types.ModuleType: Reducer._module,
    types.MethodType: Reducer._method,
    types.CodeType: lambda self, obj: self._code(obj),
    types.CellType: Reducer._cell,
}
