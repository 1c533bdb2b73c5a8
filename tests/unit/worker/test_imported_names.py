"""Compiled code -> the names of the modules that it imports."""

from __future__ import annotations

import pytest

from gdispy.worker.imported_names import imports_of_code, submodules_offered


def imports(text: str, package: str = "") -> set[str]:
    return imports_of_code(compile(text, "<test>", "exec"), package)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import a", {"a"}),
        ("import a.b.c as d, e", {"a.b.c", "e"}),
        ("from a.b import c, d as e", {"a.b", "a.b.c", "a.b.d"}),
        ("from a import *", {"a"}),
        ("from . import x", {"p.q", "p.q.x"}),
        ("from .x import y", {"p.q.x", "p.q.x.y"}),
        ("from ..x import y", {"p.x", "p.x.y"}),
        ("from .. import x", {"p", "p.x"}),
        ("from ....x import y", set()),
        ("import importlib; importlib.import_module('a.b')", {"importlib", "a.b"}),
        ("from importlib import import_module as i, import_module; import_module('.b', __package__)", {"p.q.b"}),
        ("m = __import__('a'); n = __import__('b.c')", {"a", "b.c"}),
        ("import_module('not a name'); import_module(name); other('c')", set()),
        ("try:\n import a\nexcept ImportError:\n import b", {"a", "b"}),
        ("name = 'a'; x = a.b", set()),
    ],
)
def test_all_ways_to_import_are_seen(text: str, expected: set[str]) -> None:
    assert imports(text, "p.q") - {"importlib.import_module", "importlib"} | (expected & {"importlib"}) == expected


def test_relative_imports_lead_nowhere_without_a_package() -> None:
    assert imports("from . import x\nfrom .y import z\nimport a") == {"a"}


def test_code_inside_functions_and_classes_counts() -> None:
    text = (
        "class A:\n import in_class\n"
        " def method(self):\n  import in_method\n"
        "  return lambda: [__import__('in_lambda') for _ in self]\n"
        "def outer(import_module):\n"
        " def inner(): return import_module('in_closure')\n"
        " return inner\n"
        "async def later():\n from in_coroutine import x\n"
    )
    assert imports(text) == {"in_class", "in_method", "in_lambda", "in_closure", "in_coroutine", "in_coroutine.x"}


def test_imports_are_found_behind_hundreds_of_other_names() -> None:
    """Numbers above 255 take an instruction more."""
    text = "\n".join(f"name_{number} = {number * 1.5}" for number in range(400)) + "\nfrom .late import last"
    assert imports(text, "p") == {"p.late", "p.late.last"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__all__ = ['one', 'two', 'three', 'a b']", {"p.one", "p.two", "p.three"}),
        ("def __getattr__(name):\n if name in {'one': 1, '.two': 2}: return name", {"p.one", "p.two"}),
        ("words = ['one', 'two']", set()),
    ],
)
def test_submodules_that_a_package_only_names_are_offered(text: str, expected: set[str]) -> None:
    found = submodules_offered(compile(text, "<test>", "exec"), "p")
    assert found & {"p.one", "p.two", "p.three", "p.a b"} == expected
