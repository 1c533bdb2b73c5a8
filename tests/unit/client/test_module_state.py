"""What a program has changed of its modules."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from gdispy.client.module_state import changed

SOURCE = """
import os
from os import path as p
LEVEL: int = 1
A, B = 1, 2
NAMES = ["a"]
empty = dict()
computed = os.getpid()
twice = 1
if LEVEL:
    twice = 2
for loop in range(3): pass
setting = None
def load(value):
    global setting
    setting = value
class Thing: pass
"""


def module_of(source: str) -> Any:
    module = types.ModuleType("own_state")
    exec(source, vars(module))
    return module


def test_of_a_module_as_it_was_imported_nothing_has_changed() -> None:
    assert changed(module_of(SOURCE), SOURCE) == {}


def test_what_is_no_more_as_it_is_written_has_changed() -> None:
    module = module_of(SOURCE)
    module.LEVEL, module.added = 2, "new"
    module.NAMES.append("b")
    module.empty["x"] = 1
    module.load(5)
    assert changed(module, SOURCE) == {"LEVEL": 2, "NAMES": ["a", "b"], "empty": {"x": 1}, "setting": 5, "added": "new"}


def test_attributes_of_classes_and_replaced_functions_have_changed() -> None:
    source = """
class Animal:
    kinds, count = {}, 0
    sound = "none"
    made = sorted([2, 1])
    options = dict(a=1)
    def speak(self): pass
    def __init_subclass__(cls): Animal.kinds[cls.__name__] = cls
def speak(): pass
def kept(): pass
numbers = list(range(2))
"""
    module = module_of(source)
    assert changed(module, source) == {}
    cow = type("Cow", (module.Animal,), {})
    module.Animal.sound, module.Animal.speak = "moo", None
    module.Animal.options["b"] = 2
    module.speak = print
    module.numbers.append(7)
    assert changed(module, source) == {
        "speak": print,
        "numbers": [0, 1, 7],
        "Animal.sound": "moo",
        "Animal.options": {"a": 1, "b": 2},
        "Animal.kinds": {"Cow": cow},
    }


def test_what_the_source_computes_is_left_to_the_node() -> None:
    module = module_of(SOURCE)
    module.computed, module.twice, module.loop = -1, 9, 9
    assert changed(module, SOURCE) == {}


def test_what_has_been_imported_is_compared_with_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    base: Any = types.ModuleType("base_state")
    base.__dict__.update(LEVEL=1, NAMES=["a"], DEBUG=False, TOL=0.1)
    monkeypatch.setitem(sys.modules, "base_state", base)
    source = "from base_state import *\nfrom base_state import TOL as tolerance, LEVEL\n"
    module = module_of(source)
    assert changed(module, source) == {}
    base.TOL = 0.2
    module.DEBUG, module.added = True, 5
    module.NAMES.append("b")
    assert changed(module, source) == {"tolerance": 0.1, "TOL": 0.1, "DEBUG": True, "added": 5}


@pytest.mark.parametrize("source", ["from nowhere_state import *\nx = 1\n", "def broken(:"])
def test_where_the_source_does_not_tell_nothing_has_changed(source: str) -> None:
    module = types.ModuleType("own_state")
    module.__dict__.update(x=1, more=2)
    assert changed(module, source) == {}
