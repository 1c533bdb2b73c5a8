"""Source text of functions and classes of a user's program, for nodes with another version of Python.

Standard library. Compiled code is valid for one minor version of Python only, so the source is sent with it. The client
calls `dumps`; a template finds what `loads` needs by unpickling.

As `by_value.py`, except that code is sent as its source text, which the other version compiles: unchanged, within a few
lines that provide its closure. Methods that Python's library generates for classes are generated again there
(`generated.py`). A class with other functions without a text is sent as its own text, with the values of the globals in
its body, so that decorators and metaclasses have the same effects there; later assignments to its attributes follow.
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
from gdispy.worker.codes import all_names, content_of, global_names, imported_variables, is_same, with_inner
from gdispy.worker.definitions import by_path, definitions
from gdispy.worker.manner import Findings, Manner

logger = logging.getLogger(__name__)

_OUTER = "_gdispy_outer"
#: Lines before a definition in a function, a class and a condition.
_DEPTH = 3


class NoSource(pickle.PicklingError):
    """A function or class has no source text, so it cannot be sent to another version."""


def dumps(value: object, manner: Manner | None = None) -> bytes:
    """Serialise functions, classes and what they need by source. Raises exceptions of pickle, or NoSource."""
    return by_value.written(value, _BySource, manner)


class _SourceReducer(by_value.Reducer):
    """The rules of `by_value.py`, with text instead of compiled code."""

    def __init__(self, manner: Manner, findings: Findings | None) -> None:
        super().__init__(manner, findings)
        self._with_texts: dict[type, bool] = {}

    def _code(self, obj: types.CodeType) -> Any:
        text = text_of_code(obj)
        if not text:
            raise NoSource(f"no source was found for {obj.co_name}")
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
        """A class that is part of the text of its outer class; or else by its contents."""
        outer, _, name = obj.__qualname__.rpartition(".")
        if outer and "<locals>" not in outer:
            owner = by_path(obj.__module__, outer)
            if isinstance(owner, type) and vars(owner).get(name) is obj and not self._has_texts(owner):
                return _nested_class, (identifier, owner, name)
        return super()._define(obj, identifier)

    def _has_texts(self, cls: type) -> bool:
        """Whether there is a text for each function in a class that is not sent by name."""
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
        if type(value) is not types.FunctionType or id(value) in met or not self.is_by_value(value):
            return True
        met.add(id(value))
        inner = [content for cell in value.__closure__ or () for content in content_of(cell)]
        return bool(text_of_code(value.__code__)) and all(self._has_text(each, met) for each in inner)


class _BySource(_SourceReducer, by_value.Pickler):
    def __init__(self, sink: Any, manner: Manner, collect: Any = None, findings: Findings | None = None) -> None:
        pickle.Pickler.__init__(self, sink, 5)
        _SourceReducer.__init__(self, manner, findings)


def _text(obj: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(obj))
    except (OSError, TypeError) as error:
        raise NoSource(f"no source was found for {getattr(obj, '__qualname__', obj)}: {error}") from None


@functools.lru_cache(64)
def _compiled(text: str) -> types.CodeType:
    return compile(text, "<class>", "exec", dont_inherit=True)


def _class_text(cls: type) -> str:
    """The text of a class from which it can be created again in the globals of its module; '' if there is none."""
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
    """The globals that a class needs for its creation, and those that only its methods need."""
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
    """Values of attributes of a class: they may have been assigned after its creation."""
    found: dict[str, Any] = {}
    for name, value in vars(cls).items():
        is_written = isinstance(value, type) or hasattr(type(value), "__get__") or name[:2] == name[-2:] == "__"
        if not is_written and not by_value.is_made_anew(cls, name, value):
            found[name] = value
    return found


@functools.lru_cache(256)
def text_of_code(code: types.CodeType) -> str:
    """Source text from which `code_of_text` creates the same code in any version; '' if there is none.

    It is compiled here as a check: a text that has changed since, or has a different meaning outside its class, is
    refused.
    """
    try:
        written, module = _parsed(_lines_of(code))
        for node in _candidates(module, code.co_name):
            for owner in ("", *sorted(_owners(code))):
                text, line = _alone(written, node, code, owner)
                if _is_proven(text, code.co_firstlineno + node.lineno - 1 - line, code):
                    return text
    except Exception as error:
        logger.debug("%s cannot go to nodes of another version of Python: %s", code.co_name, error)
    return ""


def _owners(code: types.CodeType) -> set[str]:
    """Names of classes that code may belong to: in class C, Python writes _C__name for __name."""
    names = {name for each in with_inner(code) for name in (*each.co_names, *each.co_varnames, *each.co_cellvars)}
    return {name[1:].partition("__")[0] for name in names if name[:1] == "_" and "__" in name[2:]}


def _is_proven(text: str, shift: int, code: types.CodeType) -> bool:
    """Whether a text compiles to the same code. Two differences from its file have no effect."""
    if is_same(code_of_text(text, code.co_name), code):
        return True
    tree = ast.parse(text)
    # From Python 3.13 on, classes know their lines.
    node: Any
    for node in ast.walk(tree):
        if hasattr(node, "lineno"):
            node.lineno, node.end_lineno = max(1, node.lineno + shift), max(1, node.end_lineno + shift)
    # From Python 3.11 on, imported functions are called with other opcodes.
    names = sorted(filter(str.isidentifier, imported_variables(code)))
    imports: list[ast.stmt] = [ast.Import([ast.alias(name)]) for name in names]
    place = 1 if tree.body[:1] and isinstance(tree.body[0], ast.ImportFrom) else 0
    tree.body[place:place] = imports
    module = compile(ast.fix_missing_locations(tree), "<text>", "exec", dont_inherit=True)
    return is_same(_code_within(module, code.co_name), code)


def _alone(written: str, node: Any, code: types.CodeType, owner: str) -> tuple[str, int]:
    """A definition within a function whose parameters are its closure, and within a class if `owner` names one; and its
    first line. It is unchanged, since one version may not be able to parse what another generates.
    not be able to read."""
    if isinstance(node, ast.Lambda):
        body, step = f"return (\n{ast.get_source_segment(written, node)}\n)", " "
    else:
        body, step = _moved(written, node)
    before = ["from __future__ import annotations"] if code.co_flags & __future__.annotations.compiler_flag else []
    before.append(f"def {_OUTER}({', '.join(code.co_freevars)}):")
    for name in filter(None, (owner, getattr(node, "name", ""))):
        # A global, unless it is part of the closure.
        before.append(f"{step}pass" if name in code.co_freevars else f"{step}global {name}")
        if name is owner:
            before.append(f"{step}class {owner}:")
            step *= 2
    if isinstance(node, ast.Lambda):
        body = f"{step}{body}"
    else:
        before.append(f"{step}if 1:")
    return "\n".join((*before, body)), len(before) + 1


def _moved(written: str, node: Any) -> tuple[str, str]:
    """A definition with enough indentation for its lines to be nested, but none for those that begin within a text; and
    one step of indentation."""
    within: set[int] = set()
    nodes = [node]
    while nodes:
        each = nodes.pop()
        if isinstance(each, ast.JoinedStr) or (isinstance(each, ast.Constant) and isinstance(each.value, str | bytes)):
            within.update(range(each.lineno + 1, (each.end_lineno or 0) + 1))
        else:  # Positions within a text with values cannot be relied on before Python 3.12.
            nodes += ast.iter_child_nodes(each)
    lines = written.split("\n")
    line = lines[node.lineno - 1]
    step = "\t" if "\t" in (line[:1], lines[node.body[0].lineno - 1][:1]) else " "
    space = step * (_DEPTH - (len(line) - len(line.lstrip())))
    numbers = range(node.lineno, node.end_lineno + 1)
    moved = [lines[number - 1] if number in within else space + lines[number - 1] for number in numbers]
    return "\n".join(moved), step


def _lines_of(code: types.CodeType) -> str:
    """The lines on which code is defined. `inspect.getsource` would read the files of all modules first."""
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)
    if not 0 < code.co_firstlineno <= len(lines):
        return inspect.getsource(code)
    return "".join(inspect.getblock(lines[code.co_firstlineno - 1 :]))


def _parsed(text: str) -> tuple[str, ast.Module]:
    """Source of one function; for a lambda the lines that contain it, which may be part of any statement. With the text
    as it was read."""
    if text[:1].isspace():
        # Texts of several lines within it would change, so it is not moved.
        with contextlib.suppress(SyntaxError):
            tree = ast.parse(f"if 1:\n{text}")
            ast.increment_lineno(tree, -1)
            return text, tree
    begin = text.find("lambda")
    attempts = (text, f"({text.strip()})", text.strip().rstrip(",)"), f"_({text.strip()}")
    for attempt in (*attempts, *(text[begin:end] for end in range(len(text), begin, -1))):
        with contextlib.suppress(SyntaxError):
            return attempt, ast.parse(attempt)
    raise SyntaxError("it stands in lines that cannot be read alone")


def _candidates(tree: ast.Module, name: str) -> list[Any]:
    """The definitions that code of that name may be compiled from."""
    if name == "<lambda>":
        return [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    kinds = ast.FunctionDef, ast.AsyncFunctionDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds) and node.name == name]


# On the node


def code_of_text(text: str, name: str, file: str = "<text>") -> types.CodeType:
    """The code of a function from text that `text_of_code` has made."""
    # With the compiler flags of the client, and not of this module.
    return _code_within(compile(text, file, "exec", dont_inherit=True), name)


def _code_within(module: types.CodeType, name: str) -> types.CodeType:
    return next(_codes(next(_codes(module, _OUTER)), name))


def kept_code(text: str, name: str) -> types.CodeType:
    """The same, with the text available for tracebacks, and for sending to yet another version."""
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
    """For unpickling: a class of the user's program."""

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
    """A class's text compiled, available for tracebacks."""
    file = f"<{name} {zlib.crc32(text.encode()):08x}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    return compile(text, file, "exec", dont_inherit=True)


def _nested_class(identifier: bytes, owner: type, name: str) -> Any:
    """For unpickling: a class in a class."""
    return definitions.receive(identifier, lambda: vars(owner)[name])[0]


def _fill_class(made: Any, state: tuple[Any, ...]) -> None:
    """For unpickling, when everything the class needs exists."""
    where, late, _modules, parts, attributes, is_named = state
    rebuild.give_names(where, late)
    for module, names in parts:
        rebuild.give_names(module, names)
    rebuild.fill_class(made, (attributes, [], is_named, []))
