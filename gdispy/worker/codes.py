"""The references of compiled code, and the comparison of code objects.

Standard library. For Python 3.10 and later.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import opcode
import operator
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping

_IN_QUERY = re.compile(r"@([^\W\d]\w*)")
_IMPORT = opcode.opmap["IMPORT_NAME"]
_EXTENDED = opcode.opmap["EXTENDED_ARG"]
_NAMED = ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
#: Opcodes that name a global; in the first, the lowest bit is a flag from Python 3.11 on.
_GLOBALS = {opcode.opmap[name] for name in _NAMED if name in opcode.opmap}
_LOAD_GLOBAL = opcode.opmap["LOAD_GLOBAL"] if sys.version_info >= (3, 11) else -1
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR")
#: Opcodes that may be between a variable and its attribute, as in `a.b += 1`.
_BETWEEN = ("CACHE", "EXTENDED_ARG", "COPY", "DUP_TOP", "PUSH_NULL")
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF")
#: Flags of code for the kind of function, without those of its compilation.
_KIND_FLAGS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR | inspect.CO_COROUTINE
_KIND_FLAGS |= inspect.CO_ASYNC_GENERATOR
#: Prefix of opcodes that load a variable.
_VARIABLES = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR")
_COMPARED = (
    *("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars"),
    *("co_argcount", "co_posonlyargcount", "co_kwonlyargcount"),
)
_BUILTINS = frozenset((int, float, complex, str, bytes, bool, type(None), type(...)))


@functools.lru_cache(1024)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """The globals that code names, including inner functions and classes, in order."""
    found: dict[str, None] = {}
    for each in with_inner(code):
        names, argument = each.co_names, 0
        data = each.co_code
        for place in range(0, len(data), 2):
            operation = data[place]
            argument = argument << 8 | data[place + 1]
            if operation == _EXTENDED:
                continue
            if operation in _GLOBALS:
                found[names[argument >> 1 if operation == _LOAD_GLOBAL else argument]] = None
            argument = 0
    return tuple(found)


@functools.lru_cache(1024)
def all_names(code: types.CodeType) -> frozenset[str]:
    """All names of globals and attributes in code, including inner functions and classes."""
    return frozenset(name for each in with_inner(code) for name in each.co_names)


@functools.lru_cache(256)
def attribute_chains(code: types.CodeType) -> dict[str, tuple[tuple[str, ...], ...]]:
    """By the variables of which code reads attributes: the names of those, as ('b', 'c') for a.b.c; () if a variable is
    also used in another way."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for each in with_inner(code):
        variable = ""
        chain: tuple[str, ...] = ()
        for instruction in dis.get_instructions(each):
            if variable and instruction.opname in _ATTRIBUTES:
                chain = (*chain, str(instruction.argval))
                continue
            if variable and instruction.opname not in _BETWEEN:
                found.setdefault(variable, []).append(chain)
                variable, chain = "", ()
            if instruction.opname in _LOADS:
                variable = str(instruction.argval)
    return {name: tuple(dict.fromkeys(chains)) for name, chains in found.items()}


def imported_variables(code: types.CodeType) -> frozenset[str]:
    """Variables of which code calls functions with the opcodes that compilers use, from Python 3.11 on, for imports of
    the file; and those of which it only reads attributes."""
    found: dict[bool, set[str]] = {False: set(), True: set()}
    for each in with_inner(code):
        before = ""
        for instruction in dis.get_instructions(each):
            name = instruction.opname
            if name in ("LOAD_ATTR", "LOAD_METHOD") and before:
                is_method = name == "LOAD_METHOD" or (sys.version_info >= (3, 12) and bool((instruction.arg or 0) & 1))
                found[is_method].add(before)
            if name not in ("CACHE", "EXTENDED_ARG"):
                variable = instruction.argval
                variable = variable[-1] if isinstance(variable, tuple) and variable else variable
                before = variable if name.startswith(_VARIABLES) and isinstance(variable, str) else ""
    return frozenset(found[False] - found[True])


@functools.lru_cache(1024)
def has_imports(code: types.CodeType) -> bool:
    """Whether code imports anything while it runs."""
    return any(_IMPORT in each.co_code[::2] for each in with_inner(code))


@functools.lru_cache(1024)
def names_in_queries(code: types.CodeType) -> tuple[str, ...]:
    """Names after an @ in texts, as in queries of pandas."""
    texts = (text for each in with_inner(code) for text in each.co_consts if type(text) is str and "@" in text)
    return tuple(dict.fromkeys(name for text in texts for name in _IN_QUERY.findall(text)))


def names_in_annotations(annotations: Mapping[str, object], names: Mapping[str, object]) -> dict[str, object]:
    """Of the globals `names`, classes and the like in annotations that are text."""
    found: dict[str, object] = {}
    for text in annotations.values():
        for name in _names_in(text) if isinstance(text, str) else ():
            value = names.get(name)
            if isinstance(value, type | types.ModuleType) or type(value).__module__ == "typing":
                found[name] = value
    return found


@functools.lru_cache(1024)
def _names_in(text: str) -> tuple[str, ...]:
    try:
        return compile(text, "<annotation>", "eval").co_names
    except (SyntaxError, ValueError):
        return ()


def content_of(cell: types.CellType) -> tuple[object, ...]:
    """The contents of a cell in a tuple; an empty tuple if it is empty."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def with_inner(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code, and that of functions and classes defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from with_inner(constant)


def is_same(one: types.CodeType, other: types.CodeType) -> bool:
    """Whether two code objects do the same."""
    for name in _COMPARED:
        if getattr(one, name) != getattr(other, name):
            return False
    if (one.co_flags ^ other.co_flags) & _KIND_FLAGS:
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    for mine, theirs in zip(one.co_consts, other.co_consts, strict=True):
        is_code = isinstance(mine, types.CodeType) and isinstance(theirs, types.CodeType)
        if not (is_same(mine, theirs) if is_code else _shown(mine) == _shown(theirs)):
            return False
    return True


def _shown(constant: object) -> str:
    """A constant, for a comparison. The qualified name of an inner class is a constant, and before Python 3.11 that of
    an inner function; it begins with that of the outer one."""
    if type(constant) is str:
        constant = constant.rpartition("<locals>.")[2]
    return repr(constant)


#: First item of a tuple that stands for a set of constants.
_SET = "a set of constants of gdispy"


def without_sets(code: types.CodeType) -> types.CodeType:
    """The same code with tuples instead of sets of constants, whose order differs from run to run."""
    return _exchanged(code, lambda value: (_SET, *sorted(value, key=_constant)) if type(value) is frozenset else value)


def with_sets(code: types.CodeType) -> types.CodeType:
    """Undoes that."""

    def restored(value: object) -> object:
        return frozenset(value[1:]) if type(value) is tuple and value[:1] == (_SET,) else value

    return _exchanged(code, restored)


def _exchanged(code: types.CodeType, exchange: Callable[[object], object]) -> types.CodeType:
    before = code.co_consts
    after = tuple(_exchanged(each, exchange) if isinstance(each, types.CodeType) else exchange(each) for each in before)
    return code if all(map(operator.is_, before, after)) else code.replace(co_consts=after)


def fingerprint(obj: object) -> bytes:
    """A digest of the contents of a function or class, the same in each run of a program."""
    likeness = hashlib.blake2b(digest_size=16)
    if isinstance(obj, types.FunctionType):
        _add_code(likeness, obj.__code__)
    elif isinstance(obj, type):
        for name, value in sorted(vars(obj).items()):
            likeness.update(name.encode("utf-8", "surrogatepass"))
            inner = getattr(value, "__func__", value)
            if isinstance(inner, types.FunctionType):
                _add_code(likeness, inner.__code__)
            elif type(inner) in _BUILTINS:
                likeness.update(repr(inner).encode("utf-8", "backslashreplace"))
    return likeness.digest()


def _add_code(likeness: hashlib.blake2b, code: types.CodeType) -> None:
    for each in with_inner(code):
        likeness.update(each.co_code)
        likeness.update(repr((each.co_names, each.co_varnames, each.co_freevars)).encode("utf-8", "backslashreplace"))
        for constant in each.co_consts:
            likeness.update(_constant(constant).encode("utf-8", "backslashreplace"))


def _constant(value: object) -> str:
    """A constant as text; for a set in an order that does not change from run to run."""
    if isinstance(value, types.CodeType):
        return ""
    if isinstance(value, frozenset):
        return repr(sorted(map(_constant, value)))
    return repr(value)
