"""Finds the changes that a program has made to its modules since they were imported, so that nodes can apply them.

Runs in the user's thread, for modules that are sent to nodes as files.

A node imports such a module afresh and would find `LEVEL = 1` where the program has set it to 9, or an empty registry
where the program has registered entries. Values that the source assigns as literals, at its top level or in the body of
a class, are compared with the current values, and functions and classes with their definitions; names that the source
does not assign were added by the program. Values that the source computes, such as a path or the number of CPUs, are
left to the node.
"""

from __future__ import annotations

import abc
import ast
import importlib.util
import logging
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

#: A value that the source computes or binds several times; and a name that it does not bind.
_UNKNOWN, _MISSING = object(), object()
#: Stands for a function or class that the source defines.
_DEFINED = object()
#: Constructors of containers of literals.
_MAKERS: dict[str, Any] = {each.__name__: each for each in (dict, list, set, tuple, frozenset, range)}


def changed(module: types.ModuleType, source: str | bytes) -> dict[str, Any]:
    """The changed globals of a module with this source text, by name; and, as `Class.name`, the changed attributes of
    its classes."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        logger.debug("the changes of %s are not known: %s", module.__name__, error)
        return {}
    written: dict[str, Any] = {}
    stars: list[Any] = []
    for name, value in _assigned(tree, module.__package__ or ""):
        if name == "*":
            stars.append(value)
        else:
            written[name] = _UNKNOWN if name in written else value
    found: dict[str, Any] = {}
    for name, value in vars(module).items():
        if name.startswith("__") or isinstance(value, types.ModuleType) or _is_definition_of(value, module):
            continue
        before = written[name] if name in written else _of_stars(stars, name)
        if isinstance(before, _Imported):
            before = before.value()
            if before is value:  # Changes of the object itself belong to the module that defines it.
                continue
        if before is not _UNKNOWN and not _is_same(before, value):
            found[name] = value
    for statement in tree.body:
        cls = vars(module).get(statement.name) if isinstance(statement, ast.ClassDef) else None
        if type(cls) in (type, abc.ABCMeta) and _is_definition_of(cls, module):
            found.update(_changed_attributes(cls, statement))
    return found


def _changed_attributes(cls: Any, definition: Any) -> dict[str, Any]:
    """Attributes that the body of a class assigns as literals and that have changed."""
    written: dict[str, Any] = {}
    for name, value in _assigned(definition, ""):
        written[name] = _UNKNOWN if name in written else value
    literals = {name: value for name, value in written.items() if value not in _MARKS and name in vars(cls)}
    return {
        f"{cls.__name__}.{name}": vars(cls)[name]
        for name, value in literals.items()
        if name[:2] != "__" and not hasattr(type(vars(cls)[name]), "__get__") and not _is_same(value, vars(cls)[name])
    }


class _Marks:
    def __contains__(self, value: object) -> bool:
        return value is _UNKNOWN or value is _DEFINED or isinstance(value, _Imported)


_MARKS = _Marks()


class _Imported(NamedTuple):
    """A value that was imported from another module."""

    module: str
    name: str

    def value(self) -> Any:
        """The current value in that module."""
        module = sys.modules.get(self.module)
        return _UNKNOWN if module is None else vars(module).get(self.name, _UNKNOWN)


def _of_stars(stars: list[Any], name: str) -> Any:
    """The origin of a name that the source does not bind directly, but perhaps by `from module import *`."""
    for each in reversed(stars):
        if each is _UNKNOWN or each.module not in sys.modules:
            return _UNKNOWN
        if name in vars(sys.modules[each.module]):
            return _Imported(each.module, name)
    return _MISSING


def _is_definition_of(value: Any, module: types.ModuleType) -> bool:
    is_definition = isinstance(value, types.FunctionType | type)
    return is_definition and value.__module__ == module.__name__ and "<" not in value.__qualname__


def _is_same(before: Any, value: Any) -> bool:
    try:
        return type(before) is type(value) and bool(before == value)
    except Exception:  # For example an array, which is not a literal.
        return False


def _assigned(tree: Any, package: str) -> Iterator[tuple[str, Any]]:
    """The names that a module binds at its top level, with their literal value or their origin if that is known."""
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            try:
                source = importlib.util.resolve_name("." * statement.level + (statement.module or ""), package)
            except ImportError:
                source = ""
            for alias in statement.names:
                yield alias.asname or alias.name, _Imported(source, alias.name) if source else _UNKNOWN
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            value = _literal(statement.value)
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, value
                elif _is_pairwise(target, statement.value):
                    pairs = zip(target.elts, statement.value.elts, strict=True)  # type: ignore[attr-defined]
                    yield from ((each.id, _literal(item)) for each, item in pairs)
                else:
                    yield from ((name, _UNKNOWN) for name in _names(target))
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name, _UNKNOWN if statement.decorator_list else _DEFINED
        else:
            yield from ((name, _UNKNOWN) for name in _names(statement))


def _is_pairwise(target: ast.expr, value: ast.expr) -> bool:
    """Whether it is as in `a, b = 1, 2`."""
    if not isinstance(target, ast.Tuple) or not isinstance(value, ast.Tuple) or len(target.elts) != len(value.elts):
        return False
    return all(isinstance(each, ast.Name) for each in target.elts)


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MAKERS:
        args = [_literal(each) for each in node.args]
        kwargs = {str(each.arg): _literal(each.value) for each in node.keywords}
        if any(each is _UNKNOWN for each in (*args, *kwargs.values())):
            return _UNKNOWN
        try:
            return _MAKERS[node.func.id](*args, **kwargs)
        except Exception:
            return _UNKNOWN
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _UNKNOWN


def _names(node: ast.AST) -> Iterator[str]:
    """Names that a statement may bind in the module, including its blocks but not functions within it."""
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Store | ast.Del):
            yield node.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif not isinstance(node, ast.Lambda):
        for each in ast.iter_child_nodes(node):
            yield from _names(each)
