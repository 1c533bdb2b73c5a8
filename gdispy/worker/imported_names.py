"""Finds the names of modules that compiled code imports.

Standard library. Used to determine which modules of the program a node needs; nothing is run.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator

_IMPORT = dis.opmap["IMPORT_NAME"]
#: Functions that import a module by name, which may be a literal.
_IMPORTERS = frozenset(("import_module", "__import__"))
#: Names with which a package offers its submodules: to `from package import *`, and on first use.
_OFFERS = frozenset(("__all__", "__getattr__"))


def imports_of_code(code: types.CodeType, package: str = "") -> set[str]:
    """The full names of the modules that code, and the code inside it, may import: with `import`, `from`, and
    `import_module` of a literal.

    For `from a import b` both a and a.b are returned, since only the modules tell whether b is a module. `package` is
    the base of relative imports; invalid ones are skipped.
    """
    found: set[str] = set()
    for each in _all_code(code):
        if _IMPORTERS.intersection(each.co_names + each.co_freevars) or _IMPORT in each.co_code[::2]:
            found.update(_imports(each, package))
    return found


def submodules_offered(code: types.CodeType, package: str) -> set[str]:
    """Names in a package's code for its submodules without importing them, as in `__all__`, or looked up by its
    `__getattr__`. Most of them are not modules."""
    if not _OFFERS.intersection(code.co_names):
        return set()
    words = {word for each in _all_code(code) for constant in each.co_consts for word in _words(constant)}
    return {f"{package}.{word.lstrip('.')}" for word in words}


def _all_code(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _all_code(constant)


def _words(constant: object) -> Iterator[str]:
    """Texts in a constant that could be names of modules."""
    if isinstance(constant, str):
        if all(part.isidentifier() for part in constant.lstrip(".").split(".")):
            yield constant
    elif isinstance(constant, tuple | frozenset):
        for each in constant:
            yield from _words(each)


def _imports(code: types.CodeType, package: str) -> Iterator[str]:
    loaded: list[object] = []
    is_importer = False
    for instruction in dis.get_instructions(code):
        operation, value = instruction.opname, instruction.argval
        if operation == "IMPORT_NAME":
            level, names = loaded[-2:]
            yield from _of_statement(value, level, names, package)
        elif operation.startswith("LOAD_CONST") or operation == "LOAD_SMALL_INT":
            loaded.append(value)
            if is_importer and isinstance(value, str):
                yield from _of_literal(value, package)
            is_importer = False
        elif operation.startswith(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD", "LOAD_FAST", "LOAD_DEREF")):
            is_importer = value in _IMPORTERS


def _of_statement(name: str, level: object, names: object, package: str) -> Iterator[str]:
    base = _absolute(name, level if isinstance(level, int) else 0, package)
    if not base:
        return
    yield base
    for each in names if isinstance(names, tuple) else ():
        if each != "*":
            yield f"{base}.{each}"


def _of_literal(name: str, package: str) -> Iterator[str]:
    bare = name.lstrip(".")
    found = _absolute(bare, len(name) - len(bare), package)
    if found and all(part.isidentifier() for part in found.split(".")):
        yield found


def _absolute(name: str, level: int, package: str) -> str:
    """The full name of an import, '' if a relative import leaves the top-level package."""
    if level == 0:
        return name
    parts = package.split(".") if package else []
    if level > len(parts):
        return ""
    return ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])
