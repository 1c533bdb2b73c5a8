"""Functions and classes of a user's program as source text, for nodes of another version of Python.

Floor 1: standard library. Compiled code is understood by one minor version of Python only, so beside it the source
goes along. The client calls `dumps`; a template finds what `loads` needs by unpickling.

All is as in `by_value.py`, but for two things. Code is its text, which the other version compiles. A class, where it
has a text, is that text with the values of the globals that its body names, so that decorators such as `dataclass` do
there what that version needs; what has been assigned to its attributes since comes after it.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import enum
import functools
import inspect
import linecache
import logging
import pickle
import sys
import textwrap
import types
import zlib
from collections.abc import Iterator
from typing import Any

from gdispy.worker import by_value, generated, rebuild
from gdispy.worker.by_value import Findings, Manner
from gdispy.worker.codes import all_names, global_names, imported_variables, is_same, with_inner
from gdispy.worker.definitions import by_path, definitions

logger = logging.getLogger(__name__)

_OUTER = "_gdispy_outer"


class NoSource(pickle.PicklingError):
    """There is no source text to be had of a function or class, so it cannot travel to another version."""


def dumps(value: object, manner: Manner | None = None) -> bytes:
    """Serialise functions, classes and what they need by source. Raises what pickle raises, or NoSource."""
    return by_value.written(value, _BySource, manner)


class _SourceReducer(by_value.Reducer):
    """The rules of `by_value.py`, with text in the place of compiled code."""

    def __init__(self, manner: Manner, findings: Findings | None) -> None:
        super().__init__(manner, findings)
        self._with_texts: dict[type, bool] = {}

    def _code(self, obj: types.CodeType) -> Any:
        text = text_of_code(obj)
        if not text:
            raise NoSource(f"there is no source of {obj.co_name}")
        return kept_code, (text, obj.co_name)

    def _define(self, obj: Any, identifier: bytes) -> Any:
        text = "" if self._has_texts(obj) else _class_text(obj)
        module = sys.modules.get(obj.__module__)
        if not text or module is None:
            return self._define_nested(obj, identifier)
        names = vars(module)
        early, late = _names_of_class(text, names, obj)
        where = self.space(names)
        made = (identifier, text, obj.__qualname__, obj.__module__, where, early)
        attributes = {} if isinstance(obj, enum.EnumMeta) else _assigned(obj)
        modules, parts = self._of_modules(_compiled(text), {**early, **late}, None)
        state = (where, late, modules, parts, attributes, by_value.is_named(obj))
        return _class_of_text, made, state, None, None, _fill_class

    def _define_nested(self, obj: Any, identifier: bytes) -> Any:
        """A class that comes with the text of the one in which it is; or else by what it is made of."""
        outer, _, name = obj.__qualname__.rpartition(".")
        if outer and "<locals>" not in outer:
            owner = by_path(obj.__module__, outer)
            if isinstance(owner, type) and vars(owner).get(name) is obj and not self._has_texts(owner):
                return _nested_class, (identifier, owner, name)
        return super()._define(obj, identifier)

    def _has_texts(self, cls: type) -> bool:
        """Whether there is a text of each function in a class that does not travel by its name."""
        known = self._with_texts.get(cls)
        if known is None:
            of_library, _ = generated.parts_of(cls)
            met: set[int] = set()
            values = [value for name, value in vars(cls).items() if name not in of_library]
            known = self._with_texts[cls] = all(self._has_text(value, met) for value in values)
        return known

    def _has_text(self, value: Any, met: set[int]) -> bool:
        if type(value) is property:
            return all(self._has_text(each, met) for each in (value.fget, value.fset, value.fdel))
        value = _plain(value)
        if type(value) is not types.FunctionType or id(value) in met or not self._is_by_value(value):
            return True
        met.add(id(value))
        inner = [content for cell in value.__closure__ or () for content in by_value.content_of(cell)]
        return bool(text_of_code(value.__code__)) and all(self._has_text(each, met) for each in inner)


class _BySource(_SourceReducer, by_value.Pickler):
    def __init__(self, sink: Any, manner: Manner, collect: Any = None, findings: Findings | None = None) -> None:
        pickle.Pickler.__init__(self, sink, 5)
        _SourceReducer.__init__(self, manner, findings)


def _text(obj: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(obj))
    except (OSError, TypeError) as error:
        raise NoSource(f"there is no source of {getattr(obj, '__qualname__', obj)}: {error}") from None


@functools.lru_cache(64)
def _compiled(text: str) -> types.CodeType:
    return compile(text, "<class>", "exec", dont_inherit=True)


def _class_text(cls: type) -> str:
    """The text of a class from which it can be made again in the globals of its module; '' where there is none."""
    methods = [inner for inner in map(_plain, vars(cls).values()) if isinstance(inner, types.FunctionType)]
    if any(set(each.__code__.co_freevars) - {"__class__"} for each in methods):
        return ""
    try:
        text = _text(cls)
        module = sys.modules.get(cls.__module__)
        if getattr(module, "annotations", None) is __future__.annotations:
            text = "from __future__ import annotations\n" + text
        written = {each.co_name: each for each in _codes_of_class(_compiled(text), cls.__name__)}
    except Exception as error:
        logger.debug("%s goes to nodes of another version of Python without its text: %s", cls.__qualname__, error)
        return ""
    for each in methods:
        if each.__code__.co_name in written and each.__module__ == cls.__module__:
            same = written.pop(each.__code__.co_name)
            if each.__code__.co_filename[:1] != "<" and not is_same(same, each.__code__):
                return ""  # It is the text of another class of that name.
    return text


def _plain(attribute: Any) -> Any:
    return getattr(attribute, "__func__", attribute)


def _codes_of_class(module: types.CodeType, name: str) -> Iterator[types.CodeType]:
    body = next(_codes(module, name))
    return (each for each in body.co_consts if isinstance(each, types.CodeType))


def _names_of_class(text: str, names: dict[str, Any], cls: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """The globals that a class needs to be made, and those that only its methods need."""
    module = _compiled(text)
    body = next(_codes(module, cls.__name__))
    inner = [each for each in (*_inner(module), *_inner(body)) if each is not body]
    now = {*module.co_names, *body.co_names}
    now |= {name for each in inner if each.co_name[:1] == "<" for name in all_names(each)}
    early = {name: names[name] for name in sorted(now) if name in names and names[name] is not cls}
    late = {name: names[name] for name in global_names(body) if name in names and name not in early}
    return early, late


def _inner(code: types.CodeType) -> Iterator[types.CodeType]:
    return (each for each in code.co_consts if isinstance(each, types.CodeType))


def _assigned(cls: type) -> dict[str, Any]:
    """Values that are attributes of a class: they may have been assigned since it was made."""
    found: dict[str, Any] = {}
    for name, value in vars(cls).items():
        is_written = isinstance(value, type) or hasattr(type(value), "__get__") or name[:2] == name[-2:] == "__"
        if not is_written and not by_value.is_made_anew(cls, name, value):
            found[name] = value
    return found


@functools.lru_cache(256)
def text_of_code(code: types.CodeType) -> str:
    """Source text from which `code_of_text` makes the same again under any version; '' where there is none.

    It is compiled here for a proof: text that has changed since, or means something else outside its class, does not.
    """
    try:
        lines, first_line = inspect.getsourcelines(code)
        for owner in ("", *sorted(_owners(code))):
            tree = _tree("".join(lines), code, owner)
            text = ast.unparse(tree)
            if is_same(_compiled_as_here(text, tree, first_line, code), code):
                return text
    except Exception as error:
        logger.debug("%s cannot go to nodes of another version of Python: %s", code.co_name, error)
    return ""


def _owners(code: types.CodeType) -> set[str]:
    """Names of classes that code may belong to: within class C, Python writes _C__name where the text says __name."""
    names = {name for each in with_inner(code) for name in (*each.co_names, *each.co_varnames, *each.co_cellvars)}
    return {name[1:].partition("__")[0] for name in names if name[:1] == "_" and "__" in name[2:]}


def _compiled_as_here(text: str, tree: ast.Module, first_line: int, code: types.CodeType) -> types.CodeType:
    """The code of a text as it is in its own file, where two things of no consequence are compiled in other ways."""
    again = ast.parse(text)
    # From Python 3.13 on, classes know their lines.
    for there, here in zip(_classes(again), _classes(tree), strict=True):
        for one, other in zip([there, *there.decorator_list], [here, *here.decorator_list], strict=True):
            one.lineno = one.end_lineno = other.lineno + first_line - 1
    # From Python 3.11 on, functions of what the file imports are called in another way.
    names = sorted(filter(str.isidentifier, imported_variables(code)))
    imports: list[ast.stmt] = [ast.Import([ast.alias(name)]) for name in names]
    place = 1 if again.body[:1] and isinstance(again.body[0], ast.ImportFrom) else 0
    again.body[place:place] = imports
    return _code_within(compile(ast.fix_missing_locations(again), "<text>", "exec", dont_inherit=True), code.co_name)


def _classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def _tree(text: str, code: types.CodeType, owner: str) -> ast.Module:
    """A function, found in its text, within one whose parameters are what it closes over, and within a class where
    `owner` names one. Raises SyntaxError where it is not there."""
    node = _find(_parsed(text), code)
    outer = ast.parse(f"def {_OUTER}({', '.join(code.co_freevars)}): pass")
    definition: Any = outer.body[0]
    if isinstance(node, ast.Lambda):
        definition.body = [ast.Return(node)]
    else:
        node.decorator_list = []
        # Its own name is a global, where it is nothing that it closes over.
        first = [] if node.name in code.co_freevars else [ast.Global([node.name])]
        definition.body = [*first, node]
    if owner:
        definition.body = [ast.ClassDef(owner, [], [], definition.body, [])]
    if code.co_flags & __future__.annotations.compiler_flag:
        outer.body.insert(0, ast.ImportFrom("__future__", [ast.alias("annotations")], 0))
    return ast.fix_missing_locations(outer)


def _parsed(text: str) -> ast.Module:
    """Source of one function; of a lambda it is the lines on which it stands, which may be part of anything."""
    # Texts of more than one line within it begin where they do, so it is not moved.
    if text[:1].isspace():
        with contextlib.suppress(SyntaxError):
            tree = ast.parse(f"if 1:\n{text}")
            ast.increment_lineno(tree, -1)
            return tree
    for attempt in (text, f"({text.strip()})", text.strip().rstrip(",)"), f"_({text.strip()}"):
        try:
            return ast.parse(attempt)
        except SyntaxError:
            continue
    begin = text.find("lambda")
    for end in range(len(text), begin, -1):
        try:
            return ast.parse(text[begin:end])
        except SyntaxError:
            continue
    raise SyntaxError("it stands in lines that cannot be read alone")


def _find(tree: ast.Module, code: types.CodeType) -> Any:
    """The definition that the code was compiled from."""
    kinds = (ast.Lambda,) if code.co_name == "<lambda>" else (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    if code.co_name != "<lambda>":
        return next(node for node in found if getattr(node, "name", "") == code.co_name)
    for node in found:
        module: Any = ast.Module([ast.Expr(node)], [])  # type: ignore[arg-type]
        compiled = compile(ast.fix_missing_locations(module), "<lambda>", "exec")
        inner = next(each for each in compiled.co_consts if isinstance(each, types.CodeType))
        if len(found) == 1 or is_same(inner, code):
            return node
    raise SyntaxError("there are several lambdas on the line")


# On the node


def code_of_text(text: str, name: str, file: str = "<text>") -> types.CodeType:
    """The code of a function from text that `text_of_code` has made."""
    # As it was compiled at home, and not as this module is.
    return _code_within(compile(text, file, "exec", dont_inherit=True), name)


def _code_within(module: types.CodeType, name: str) -> types.CodeType:
    return next(_codes(next(_codes(module, _OUTER)), name))


def kept_code(text: str, name: str) -> types.CodeType:
    """The same, with the text at hand for tracebacks, and for the way to yet another version."""
    file = f"<{name} {zlib.crc32(text.encode()):08x}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    return code_of_text(text, name, file)


def _codes(code: types.CodeType, name: str) -> Iterator[types.CodeType]:
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    yield from (each for each in inner if each.co_name == name)
    for each in inner:
        yield from _codes(each, name)


def _class_of_text(
    identifier: bytes, text: str, qualname: str, module: str, where: types.ModuleType, early: dict[str, Any]
) -> Any:
    """Called by unpickling: a class of the user's program."""

    def make() -> Any:
        names = vars(where)
        names.update(early)
        name = qualname.rpartition(".")[2]
        exec(_kept_class(text, name), names)
        made = names[name]
        made.__qualname__, made.__module__ = qualname, module
        return made

    return definitions.receive(identifier, make)[0]


def _kept_class(text: str, name: str) -> types.CodeType:
    """A class's text compiled, at hand for tracebacks."""
    file = f"<{name} {zlib.crc32(text.encode()):08x}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    return compile(text, file, "exec", dont_inherit=True)


def _nested_class(identifier: bytes, owner: type, name: str) -> Any:
    """Called by unpickling: a class in a class."""
    return definitions.receive(identifier, lambda: vars(owner)[name])[0]


def _fill_class(made: Any, state: tuple[Any, ...]) -> None:
    """Called by unpickling, when what the class needs is there."""
    where, late, _modules, parts, attributes, is_named = state
    vars(where).update(late)
    for module, names in parts:
        vars(module).update(names)
    rebuild.fill_class(made, (attributes, [], is_named, []))
