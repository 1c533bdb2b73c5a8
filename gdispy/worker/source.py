"""Functions and classes of a user's program as source text, for nodes of another version of Python.

Floor 1: standard library. Compiled code is understood by one minor version of Python only, so beside it the source
goes along. The client calls `dumps`; a template finds what `loads` needs by unpickling.

What a module that nodes can import defines travels by name. What `__main__` defines travels as text, with the
values of the globals that it mentions; on the node all of it shares one `__main__`, as it did at home.
"""

from __future__ import annotations
import __future__

import ast
import functools
import importlib
import inspect
import io
import linecache
import logging
import pickle
import sys
import textwrap
import types
import zlib
from collections.abc import Iterator
from typing import Any

from gdispy.worker import pickling

logger = logging.getLogger(__name__)

#: Flags of code that tell what kind of function it is, without those of how it was compiled.
_KIND_FLAGS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR | inspect.CO_COROUTINE
_KIND_FLAGS |= inspect.CO_ASYNC_GENERATOR
_OUTER = "_gdispy_outer"


class NoSource(pickle.PicklingError):
    """There is no source text to be had of a function or class, so it cannot travel to another version."""


def dumps(value: object) -> bytes:
    """Serialise functions, classes and what they need by source. Raises what pickle raises, or NoSource."""
    sink = io.BytesIO()
    _BySource(sink, 5).dump(value)
    return sink.getvalue()


class _BySource(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if type(obj) in pickling.LOCKS:
            return pickling.LOCKS[type(obj)], ()
        if isinstance(obj, types.ModuleType):
            return importlib.import_module, (obj.__name__,)
        if isinstance(obj, types.FunctionType) and not _is_found_by_name(obj):
            return _reduce_function(obj)
        if isinstance(obj, type) and obj.__module__ == "__main__":
            text = _text(obj)
            mentioned = {name: value for name, value in _mentioned_by_text(text).items() if value is not obj}
            return _make_class, (text, obj.__qualname__, mentioned)
        return NotImplemented


def _is_found_by_name(function: types.FunctionType) -> bool:
    if function.__module__ == "__main__":
        return False
    found: Any = sys.modules.get(function.__module__ or "")
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


def _reduce_function(function: types.FunctionType) -> tuple[Any, ...]:
    code = function.__code__
    text = _function_text(function)
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    state = {
        "names": {name: function.__globals__[name] for name in _names(code) if name in function.__globals__},
        "cells": {name: cell.cell_contents for name, cell in cells.items()},
        "defaults": function.__defaults__,
        "kwdefaults": function.__kwdefaults__,
        "dict": {name: value for name, value in function.__dict__.items() if name != "__wrapped__"},
    }
    made = (text, code.co_name, function.__name__, function.__qualname__)
    return _make_function, made, state, None, None, _fill


def _names(code: types.CodeType) -> set[str]:
    """All names of globals and attributes that code mentions, inner functions included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _mentioned_by_text(text: str) -> dict[str, Any]:
    main = vars(sys.modules["__main__"])
    return {name: main[name] for name in _names(compile(text, "<class>", "exec")) if name in main}


def _text(obj: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(obj))
    except (OSError, TypeError) as error:
        raise NoSource(f"there is no source of {getattr(obj, '__qualname__', obj)}: {error}") from None


def _function_text(function: types.FunctionType) -> str:
    try:
        return _code_text(function.__code__)
    except (OSError, TypeError, SyntaxError) as error:
        raise NoSource(f"there is no source of {function.__qualname__}: {error}") from None


@functools.lru_cache(256)
def text_of_code(code: types.CodeType) -> str:
    """Source text from which `code_of_text` makes the same again under any version; '' where there is none.

    It is compiled here for a proof: text that has changed since, or means something else outside its class, does not.
    """
    try:
        for owner in ("", *sorted(_owners(code))):
            text = _code_text(code, owner)
            if _is_same(code_of_text(text, code.co_name), code):
                return text
    except Exception as error:
        logger.debug("%s cannot go to nodes of another version of Python: %s", code.co_name, error)
    return ""


def _owners(code: types.CodeType) -> set[str]:
    """Names of classes that code may belong to: within class C, Python writes _C__name where the text says __name."""
    return {name[1:].partition("__")[0] for name in code.co_names if name[:1] == "_" and "__" in name[2:]}


def _is_same(one: types.CodeType, other: types.CodeType) -> bool:
    """Whether two pieces of code do the same."""
    for name in ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount"):
        if getattr(one, name) != getattr(other, name):
            return False
    if (one.co_flags ^ other.co_flags) & _KIND_FLAGS:
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    for mine, theirs in zip(one.co_consts, other.co_consts, strict=True):
        is_code = isinstance(mine, types.CodeType) and isinstance(theirs, types.CodeType)
        if not (_is_same(mine, theirs) if is_code else _shown(mine) == _shown(theirs)):
            return False
    return True


def _shown(constant: Any) -> str:
    """A constant, for a comparison. Before Python 3.11 the full name of an inner function is one, and begins with where
    the outer one stands."""
    if sys.version_info < (3, 11) and type(constant) is str:
        constant = constant.rpartition("<locals>.")[2]
    return repr(constant)


def _code_text(code: types.CodeType, owner: str = "") -> str:
    """The text of a function, within one whose parameters are what it closes over, and within a class where `owner`
    names one. Raises OSError, TypeError or SyntaxError where there is none."""
    text = textwrap.dedent(inspect.getsource(code))
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
    return ast.unparse(ast.fix_missing_locations(outer))


def _parsed(text: str) -> ast.Module:
    """Source of one function; of a lambda it is the lines on which it stands, which may be part of anything."""
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
        if len(found) == 1 or _is_same(inner, code):
            return node
    raise SyntaxError("there are several lambdas on the line")


# On the node


def _make_function(text: str, code_name: str, name: str, qualname: str) -> types.FunctionType:
    """Called by unpickling: the function, with nothing in what it closes over yet."""
    code = kept_code(text, code_name)
    closure = tuple(types.CellType() for _ in code.co_freevars)
    function = types.FunctionType(code, vars(sys.modules["__main__"]), name, None, closure)
    function.__qualname__, function.__module__ = qualname, "__main__"
    return function


def code_of_text(text: str, name: str, file: str = "<text>") -> types.CodeType:
    """The code of a function from text that `text_of_code` has made."""
    # As it was compiled at home, and not as this module is.
    module = compile(text, file, "exec", dont_inherit=True)
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


def _fill(function: types.FunctionType, state: dict[str, Any]) -> None:
    """Called by unpickling, when what the function needs is there."""
    function.__globals__.update(state["names"])
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        cell.cell_contents = state["cells"][name]
    function.__defaults__, function.__kwdefaults__ = state["defaults"], state["kwdefaults"]
    function.__dict__.update(state["dict"])


def _make_class(text: str, name: str, mentioned: dict[str, Any]) -> Any:
    """Called by unpickling: a class of the user's program, which then travels back by name."""
    main = vars(sys.modules["__main__"])
    main.update(mentioned)
    exec(compile(text, f"<{name}>", "exec"), main)
    made = main[name.rpartition(".")[2]]
    pickling.know(made)
    return made
