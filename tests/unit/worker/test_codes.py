"""What compiled code refers to, and when two pieces of code do the same."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from gdispy.worker import codes
from gdispy.worker.codes import (
    all_names,
    attribute_chains,
    fingerprint,
    global_names,
    has_imports,
    is_same,
    names_in_annotations,
    names_in_queries,
    with_sets,
    without_sets,
)


def compiled(text: str) -> types.CodeType:
    """The code of the function `f` in a text."""
    names: dict[str, Any] = {}
    exec(compile(text, "<text>", "exec"), names)
    code = names["f"].__code__
    assert isinstance(code, types.CodeType)
    return code


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("return a + b.c", ("a", "b")),
        ("return (lambda: a)()", ("a",)),
        ("return [a for x in b]", ("a", "b")),
        ("global a\n    a = 1\n    del b", ("a",)),
        ("b = 1\n    return b", ()),
        ("class K(a):\n        y = b\n    return K", ("a", "b", "__name__")),
    ],
)
def test_globals_are_found_also_in_inner_functions_and_classes(body: str, names: tuple[str, ...]) -> None:
    found = global_names(compiled(f"def f():\n    {body}"))
    assert set(names) - {"b" if "del" in body else ""} <= set(found)
    assert set(found) <= {*names, "__name__", "__build_class__"}


def test_code_with_very_many_names_is_read_whole() -> None:
    names = [f"n{number}" for number in range(700)]
    assert global_names(compiled("def f():\n    return [" + ", ".join(names) + "]")) == tuple(names)


def test_names_of_attributes_are_names_too() -> None:
    assert all_names(compiled("def f():\n    return a.b(lambda: c.d)")) == {"a", "b", "c", "d"}


def test_attributes_of_a_variable_are_chains_and_other_uses_are_seen() -> None:
    found = attribute_chains(compiled("def f():\n    a.b.c\n    a.d()\n    a.e = 1\n    return b.x, b"))
    assert set(found["a"]) == {("b", "c"), ("d",), ("e",)}
    assert () in found["b"] and ("x",) in found["b"]


@pytest.mark.parametrize(
    ("body", "expected"), [("import os", True), ("return 1", False), ("def g():\n        from a import b", True)]
)
def test_code_that_imports_is_found(body: str, expected: bool) -> None:
    assert has_imports(compiled(f"def f():\n    {body}")) is expected


def test_names_after_an_at_sign_are_those_of_a_query() -> None:
    code = compiled("def f(d):\n    return d.query('x > @low and y < @ caf or @low'), 'mail@x'")
    assert names_in_queries(code) == ("low", "x")


def test_classes_in_annotations_that_are_text_are_found() -> None:
    class K: ...

    names = {"K": K, "value": 5, "module": sys}
    found = names_in_annotations({"a": "list[K]", "b": "value", "c": "module.x", "d": "not valid [", "e": K}, names)
    assert found == {"K": K, "module": sys}


def test_contents_of_a_cell_may_be_missing() -> None:
    assert codes.content_of(types.CellType(5)) == (5,) and codes.content_of(types.CellType()) == ()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("def f(a):\n    return a + 1", "\n\n# moved\ndef f(a):\n    return a + 1", True),
        ("def f(a):\n    return a + 1", "def f(a):\n    return a + 2", False),
        ("def f(a):\n    return a + 1", "def f(b):\n    return b + 1", False),
        ("def f(a):\n    return g(a)", "def f(a):\n    return h(a)", False),
        ("def f(a, b):\n    return a", "def f(a, *, b):\n    return a", False),
        ("def f(a, *b):\n    return b", "def f(a, **b):\n    return b", False),
        ("def f():\n    return 1", "def f():\n    return 1.0", False),
        ("def f():\n    return 1", "def f():\n    return True", False),
        ("def f():\n    return lambda: 1", "def f():\n    return lambda: 2", False),
        ("def f():\n    yield", "async def f():\n    yield", False),
    ],
)
def test_code_is_the_same_if_it_does_the_same_wherever_it_is(one: str, other: str, expected: bool) -> None:
    assert is_same(compiled(one), compiled(other)) is expected


def test_name_of_the_outer_function_makes_no_difference() -> None:
    def outer() -> Any:
        def f() -> Any:
            class Inner: ...

            return Inner

        return f

    def another() -> Any:
        def f() -> Any:
            class Inner: ...

            return Inner

        return f

    assert is_same(outer().__code__, another().__code__)


def test_sets_of_constants_are_exchanged_and_restored() -> None:
    code = compiled("def f(a):\n    return a in {3, 'x', 1} or (lambda b: b in {2, 5})")
    plain = without_sets(code)
    assert not any(isinstance(each, frozenset) for inner in codes.with_inner(plain) for each in inner.co_consts)
    assert with_sets(plain) == code
    same = compiled("def f(a):\n    return a")
    assert without_sets(same) is same is with_sets(same)


class Counted:
    """A class of which a change is a change of its fingerprint."""

    number = 5

    def method(self) -> int:
        return 1

    @staticmethod
    def static() -> int:
        return 2


def test_fingerprint_depends_on_the_contents() -> None:
    before = fingerprint(Counted)
    assert fingerprint(Counted) == before
    for name, value in (("number", 6), ("method", lambda self: 2), ("more", 1)):
        changed = type("Counted", (), {**vars(Counted), name: value})
        assert fingerprint(changed) != before
    assert fingerprint(compiled) != fingerprint(test_fingerprint_depends_on_the_contents)


def test_fingerprint_is_the_same_in_each_run(tmp_path: Path) -> None:
    text = "def f(a):\n    return a in {'x', 'y', 'z', 'w'}"
    program = f"from gdispy.worker.codes import fingerprint\n{text}\nprint(fingerprint(f).hex())"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
