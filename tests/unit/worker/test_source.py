"""Functions as they are written, for another version of Python."""

from __future__ import annotations

import importlib.util
import itertools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy.worker import source

_numbers = itertools.count()


@pytest.fixture
def module_of(tmp_path: Path) -> Callable[[str], Any]:
    def make(text: str) -> Any:
        path = tmp_path / f"written_{next(_numbers)}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return make


def again(function: Any, **names: Any) -> Any:
    """A function from the text of another, with these globals."""
    text = source.text_of_code(function.__code__)
    assert text
    code = source.code_of_text(text, function.__code__.co_name)
    made = types.FunctionType(code, names, function.__name__, function.__defaults__, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def test_a_text_of_more_than_one_line_in_a_method_stays_as_it_is(module_of: Callable[[str], Any]) -> None:
    module = module_of(
        'class A:\n    def f(self):\n        """Its text.\n\n            Further in.\n        """\n'
        '        return """a\n        b"""\n'
    )
    assert again(module.A.f)(None) == "a\n        b"
    assert '            Further in.\n        """' in source.text_of_code(module.A.f.__code__)


@pytest.mark.parametrize("step", ["\t", " ", "  ", "    "])
def test_any_indentation(module_of: Callable[[str], Any], step: str) -> None:
    module = module_of(
        f"class A:\n{step}def f(self, x):\n{step}{step}if x:\n{step}{step}{step}return self.__n\n{step}__n = 4\n"
    )
    assert again(module.A.f)(module.A(), 1) == 4
    module = module_of(f"def f(x):\n{step}if x:\n{step}{step}return 5\n")
    assert again(module.f)(1) == 5


def test_a_function_that_names_its_class_and_private_names_of_it(module_of: Callable[[str], Any]) -> None:
    text = "class A:\n    __n = 3\n    def f(self, __x=1):\n        return A.__n + self.__n + __x\n"
    module = module_of(text)
    assert again(module.A.f, A=module.A)(module.A()) == 7


def test_functions_of_imported_modules_are_called(module_of: Callable[[str], Any]) -> None:
    module = module_of(
        "import math\nimport os.path\ndef f(x):\n    return math.floor(x), os.path.basename('a/b'), x.hex()\n"
    )
    assert again(module.f, math=module.math, os=module.os)(1.5) == (1, "b", "0x1.8000000000000p+0")


def test_a_class_within_a_method(module_of: Callable[[str], Any]) -> None:
    lines = "\n" * 40
    module = module_of(
        f"{lines}class A:\n    def f(self):\n        class B:\n            n = 5\n            m = 3\n        return B\n"
    )
    made = again(module.A.f)(None)
    assert (made.n, made.m) == (5, 3)


def test_lambdas_on_one_line_are_told_apart(module_of: Callable[[str], Any]) -> None:
    module = module_of("fs = [lambda x: x + 1, lambda x: x + 2, (lambda n: lambda: n)(7), lambda x, *y: (x, y)]\n")
    assert [again(module.fs[0])(1), again(module.fs[1])(1), again(module.fs[2])(), again(module.fs[3])(1, 2)] == [
        *(2, 3, 7),
        (1, (2,)),
    ]


def test_quotes_in_texts_with_values_stay_as_they_are(module_of: Callable[[str], Any]) -> None:
    # What Python 3.12 writes anew for these, earlier versions cannot read.
    line = """    return f"{'a' if n else 'b'}{n:,}" + f'{"q"}' + f"{n!r:>{n + 2}}{'{'}}} {{" """.rstrip()
    module = module_of(f"def f(n):\n{line}\n")
    assert again(module.f)(2) == "a2q   2{} {"
    assert line.strip() in source.text_of_code(module.f.__code__)


def test_decorators_are_left_out(module_of: Callable[[str], Any]) -> None:
    text = "def d(*a):\n    return lambda f: f\n@d(\n    1,\n    2,\n)\n@d()\ndef f(x, *, y=2): return x * y; # end\n"
    module = module_of(text)
    assert again(module.f)(4) == 8
    assert "@" not in source.text_of_code(module.f.__code__)
