"""Functions, classes and modules that travel by value: what arrives, and what is the same at both ends."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import sqlite3
import subprocess
import sys
import textwrap
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy.worker import codes, pickling
from gdispy.worker.manner import Findings, Manner
from gdispy.worker.paths_to import heaviest, unpicklable

#: Runs a program as `__main__`, and then, in a process that has nothing of it, what is done with its payloads.
_HOME = """
import sys
from gdispy.worker import pickling
def write(*values):
    for number, value in enumerate(values):
        data = pickling.dumps(value)
        with open(f"{number}.payload", "wb") as file:
            file.write(data if isinstance(data, bytes) else b"".join(data))
"""
_AWAY = """
import sys
from gdispy.worker import pickling
def read(number):
    with open(f"{number}.payload", "rb") as file:
        return pickling.loads(bytearray(file.read()))
"""

Travel = Callable[[str, str], list[str]]


@pytest.fixture
def travel(tmp_path: Path) -> Travel:
    """Runs the first text at home, where it calls `write`, then the second away, where it calls `read`; gives the
    lines that the second one has printed."""

    def run(home: str, away: str) -> list[str]:
        lines: list[str] = []
        for begin, text in ((_HOME, home), (_AWAY, away)):
            (tmp_path / "program.py").write_text(begin + textwrap.dedent(text))
            words = [sys.executable, "program.py"]
            done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=30)
            assert done.returncode == 0, done.stderr
            lines = done.stdout.splitlines()
            for path in tmp_path.glob("*.py"):
                path.unlink()
        return lines

    return run


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Any]]:
    """Makes modules of the program."""
    made: list[str] = []

    def make(name: str, text: str) -> Any:
        path = tmp_path / "modules" / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(tmp_path / "modules"))
        made.append(name)
        return __import__(name, fromlist=["x"])

    yield make
    for name in made:
        sys.modules.pop(name, None)


def joined(payload: pickling.Payload) -> bytes:
    return payload if isinstance(payload, bytes) else b"".join(payload)


def test_functions_that_call_each_other_and_share_a_variable_stay_together(travel: Travel) -> None:
    home = """
    def make():
        count = 0
        def up():
            nonlocal count
            count += 1
            return count
        def read():
            return count
        return up, read
    def even(n): return n == 0 or odd(n - 1)
    def odd(n): return n != 0 and even(n - 1)
    write((even, *make()))
    """
    assert travel(home, "even, up, read_ = read(0); up(); print(even(10), even(7), up(), read_())") == [
        "True False 2 2"
    ]


def test_globals_are_those_that_code_names_and_no_others(travel: Travel) -> None:
    home = """
    used, unused = 1, bytes(1_000_000)
    class Thing:
        unused = 7
        def get(self):
            return [used for _ in range(2)], Thing.unused
    def work(thing):
        def inner():
            return thing.get()
        return inner()
    assert len(pickling.dumps(work)) < 5000
    write((work, Thing()))
    """
    away = "work, thing = read(0); print(work(thing), {'used', 'unused'} & work.__globals__.keys())"
    assert travel(home, away) == ["([1, 1], 7) {'used'}"]


def test_one_definition_is_one_object_in_all_payloads_and_takes_the_state_in_which_it_came_last(travel: Travel) -> None:
    home = """
    import functools
    value = 1
    class Thing:
        shared = []
    def get(): return value
    @functools.cache
    def kept(n): return n
    write((get, Thing, kept))
    value = 2
    Thing.shared.append(5)
    data = pickling.dumps((get, Thing(), kept))
    open("1.payload", "wb").write(data)
    """
    away = """
    get, Thing, kept = read(0)
    print(get(), Thing.shared)
    again, thing, twice = read(1)
    print(again is get, type(thing) is Thing, twice is kept, get(), Thing.shared)
    """
    assert travel(home, away) == ["1 []", "True True True 2 [5]"]


def test_what_comes_back_is_ones_own(travel: Travel) -> None:
    home = """
    import enum, subprocess
    class Color(enum.Enum):
        RED = 1
    class Thing:
        def __init__(self, n): self.n = n
    def work(n): return Thing(n)
    def closure(n):
        return lambda: n
    made = closure(3)
    write((work, Color.RED, made))
    text = '''
    from gdispy.worker import pickling
    work, red, made = pickling.loads(open("0.payload", "rb").read())
    open("1.payload", "wb").write(pickling.dumps((work, red, made, work(4), type(red))))
    '''
    import textwrap
    subprocess.run([sys.executable, "-c", textwrap.dedent(text)], check=True)
    back = pickling.loads(open("1.payload", "rb").read())
    assert back[0] is work and back[1] is Color.RED and back[2] is made and back[4] is Color, back
    assert type(back[3]) is Thing and back[3].n == 4
    """
    assert travel(home, "print('home')") == ["home"]


def test_arguments_change_nothing_of_what_came_with_the_computation(travel: Travel) -> None:
    home = """
    model = None
    def load():
        global model
        model = "loaded"
    def work(other): return model, other is work
    write((work, load))
    write_again = pickling.dumps((work,))
    open("1.payload", "wb").write(write_again)
    """
    away = """
    with pickling.loading_computation():
        work, load = read(0)
    load()
    (other,) = read(1)
    print(work(other), sys.modules["__main__"].work is work)
    """
    assert travel(home, away) == ["('loaded', True) True"]


def test_known_definitions_are_sent_by_their_identifiers(travel: Travel) -> None:
    home = """
    from gdispy.worker.by_value import Findings, Manner
    class Thing:
        text = "x" * 10_000
    def work(thing): return type(thing) is Thing
    findings = Findings()
    open("0.payload", "wb").write(pickling.dumps_by_value(work, None, findings))
    manner = Manner(known=frozenset(findings.defined))
    data = pickling.dumps_call((Thing(),), {}, manner)
    assert len(data) < 200, len(data)
    open("1.payload", "wb").write(data)
    """
    away = """
    with pickling.loading_computation():
        work = read(0)
    (thing,), _ = read(1)
    print(work(thing))
    """
    assert travel(home, away) == ["True"]


def test_modules_that_have_the_same_name_but_are_two_stay_two(travel: Travel) -> None:
    home = """
    def executed(text):
        space = {"__name__": "plugin"}
        exec(text, space)
        return space
    one = executed("value = 1\\ndef get(): return value\\nclass A: pass\\n")
    two = executed("value = 2\\ndef get(): return value\\nclass A: pass\\n")
    write([one["get"], two["get"], one["A"], two["A"]])
    """
    away = """
    with pickling.loading_computation():
        one, two, a, b = read(0)
    print(one(), two(), a is b)
    """
    assert travel(home, away) == ["1 2 False"]


def test_program_module_that_has_the_name_of_one_of_python_leaves_that_alone(travel: Travel) -> None:
    home = """
    import types
    mine = sys.modules["queue"] = types.ModuleType("queue")
    exec("def get(): return Queue\\nQueue = 'mine'", vars(mine))
    write(mine.get)
    """
    away = """
    import queue
    with pickling.loading_computation():
        get = read(0)
    print(get(), queue.Queue.__name__, sys.modules["queue"] is queue)
    """
    assert travel(home, away) == ["mine Queue True"]


def test_names_that_nodes_give_to_jobs_are_the_nodes(travel: Travel) -> None:
    home = """
    dispy_node_name = None
    dispy_provisional_result = print
    def work(): return dispy_node_name
    write(work)
    """
    assert travel(home, "import builtins; builtins.dispy_node_name = 'n1'; print(read(0)())") == ["n1"]


def test_metaclasses_and_bases_do_not_see_a_class_twice(travel: Travel) -> None:
    home = """
    class Meta(type):
        made = []
        def __new__(meta, name, bases, space, *, kind):
            cls = super().__new__(meta, name, bases, space)
            meta.made.append((name, kind))
            return cls
        def __init__(cls, name, bases, space, *, kind): super().__init__(name, bases, space)
    class Base:
        kinds = {}
        def __init_subclass__(cls, *, word): Base.kinds.setdefault(word, []).append(cls.__name__)
    class One(Base, word="one"): pass
    class Two(metaclass=Meta, kind=3): pass
    write((Base, One, Two, Meta))
    """
    away = """
    Base, One, Two, Meta = read(0)
    print(Base.kinds, Meta.made, type(Two) is Meta, One.__mro__[1] is Base)
    class Three(Base, word="three"): pass
    class Four(Two, kind=4): pass
    print(Base.kinds, Meta.made)
    """
    assert travel(home, away) == [
        "{'one': ['One']} [('Two', 3)] True True",
        "{'one': ['One'], 'three': ['Three']} [('Two', 3), ('Four', 4)]",
    ]


def test_of_a_module_of_the_program_comes_what_is_named(module: Callable[[str, str], Any]) -> None:
    own = module("own_low", "large = bytes(1_000_000)\nsmall = 3\ndef get(): return small\n")

    def work() -> Any:
        return own.get(), own.small

    findings = Findings()
    data = pickling.dumps_by_value(work, None, findings)
    assert len(data) < 5000
    assert findings.whole == set()
    assert any(title.endswith("own_low.get") for title in findings.titles)


@pytest.mark.parametrize(
    "text",
    [
        "def work(name): return getattr(own_low, name)",
        "def work(name): return [own_low]",
        "def work(): own_low.later()",
    ],
)
def test_module_that_is_used_as_a_whole_is_found_out(module: Callable[[str, str], Any], text: str) -> None:
    own = module("own_low", "x = 1")
    user = module("own_user", f"import own_low\n{text}\n")
    findings = Findings()
    pickling.dumps_by_value(user.work, None, findings)
    assert findings.whole == {own.__name__}


def test_user_says_what_goes_by_value_and_what_by_name(module: Callable[[str, str], Any]) -> None:
    own = module("own_low", "def get(): return 1\n")
    by_its_name = pickling.dumps(own.get, Manner(by_name=frozenset(["own_low"])))
    assert joined(by_its_name) == pickle.dumps(own.get, 5)
    installed = pickling.dumps(textwrap.dedent, Manner(by_value=frozenset(["textwrap"])))
    assert joined(installed) != pickle.dumps(textwrap.dedent, 5)
    assert joined(pickling.dumps(textwrap.dedent)) == pickle.dumps(textwrap.dedent, 5)


connection: Any = None


def helper() -> Any:
    return connection


def worker() -> Any:
    return helper()


class Holder:
    def __init__(self, value: Any) -> None:
        self.value = value


def broken(closure: Any) -> Callable[[], Any]:
    return lambda: closure


def defaulted(value: Any) -> Callable[..., Any]:
    def work(n: int = 1, other: Any = value) -> Any:
        return other

    return work


@pytest.fixture
def database() -> Iterator[Any]:
    with contextlib.closing(sqlite3.connect(":memory:")) as made:
        yield made


@pytest.mark.parametrize(
    ("make", "way"),
    [
        (lambda bad: [1, {"a": (bad,)}], "it -> [1] -> ['a'] -> [0]"),
        (Holder, "it -> .value"),
        (broken, "it -> closure['closure']"),
        (defaulted, "it -> defaults['other']"),
        (lambda bad: functools.partial(print, bad), "it -> args[0]"),
        (lambda bad: functools.partial(print, sep=Holder([bad])), "it -> keywords['sep'] -> .value -> [0]"),
        (lambda bad: [types.MethodType(helper, Holder(bad))], "it -> [0] -> self of helper -> .value"),
    ],
)
def test_way_to_what_cannot_travel_is_told(database: Any, make: Callable[[Any], Any], way: str) -> None:
    found, _, shown = unpicklable(make(database), None, "it").partition(" = ")
    assert (found, shown.partition(" at ")[0]) == (way, "<sqlite3.Connection object")


def test_way_leads_through_functions(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "connection", database)
    manner = Manner(by_value=frozenset([__name__]))
    assert unpicklable(worker, manner).startswith("worker -> helper -> globals['connection'] = <sqlite3.Connection")


def test_way_to_what_is_large_is_told() -> None:
    table = {"small": [1], "large": bytes(1_000_000)}
    way, size = heaviest(broken([1, table]), None, "it")
    assert way == "it -> closure['closure'] -> [1] -> ['large']"
    assert 1_000_000 <= size < 1_000_100


def test_sets_of_constants_have_the_same_bytes_in_each_run() -> None:
    text = "def work(x): return x in {'a', 'b', 'c', 'd'} or (lambda: x in {1, 'e', None})()"
    found = set()
    for seed in ("1", "2", "3"):
        code = f"{text}\nfrom gdispy.worker import pickling; sys = __import__('sys')\n"
        code += "sys.stdout.buffer.write(pickling.dumps(work))"
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True, timeout=30)
        found.add(done.stdout)
    assert len(found) == 1
    work = pickling.loads(found.pop())
    assert [work("a"), work("e"), work("z"), type(work.__code__.co_consts[1]) is frozenset] == [True, True, False, True]


def test_names_in_code() -> None:
    text = """
    def work(x):
        global written
        written = first.a.b(x)
        class Inner:
            c = second
        def inner(): return third, x.first_attribute, module.part.name, module.other
        return [fourth for _ in module]
    """
    space: dict[str, Any] = {}
    exec(textwrap.dedent(text), space)
    code = space["work"].__code__
    names = set(codes.global_names(code))
    assert names >= {"written", "first", "second", "third", "fourth", "module"}
    assert not names & {"a", "b", "part", "name", "other", "first_attribute"}
    assert set(codes.attribute_chains(code)["module"]) == {("part", "name"), ("other",), ()}


def test_value_that_is_nested_too_deep_says_so() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(pickle.PicklingError, match="nested too deeply"):
        pickling.dumps(nested)


def test_dill_is_asked_for_what_nothing_else_takes() -> None:
    reference = weakref.ref(Holder)
    with pytest.raises(TypeError):
        pickle.dumps(reference)
    assert pickling.loads(pickling.dumps(reference))() is Holder


def test_functions_of_modules_that_keep_an_object_for_them_go_by_name(travel: Travel) -> None:
    home = """
    import functools, random
    from random import choice, random as draw
    def work(other=draw): return draw(), other(), functools.partial(random.randint, 1, 10**9)(), choice([1, 2])
    write((work, draw), [random.random, choice])
    """
    away = """
    import random
    work, draw = read(0)
    random.seed(1)
    first = work()
    random.seed(1)
    print(work() == first, draw is random.random, read(1) == [random.random, random.choice])
    """
    assert travel(home, away) == ["True True True"]


def test_objects_that_say_they_are_the_only_ones_are(travel: Travel) -> None:
    home = """
    class Sentinel:
        def __init__(self, name): self.name = name
        def __reduce__(self): return self.name
        def __repr__(self): return f"<{self.name}>"
    MISSING = Sentinel("MISSING")
    def work(value=MISSING): return value is MISSING, repr(value)
    write((work, [MISSING, MISSING]))
    write_again = pickling.dumps(MISSING)
    open("1.payload", "wb").write(write_again)
    """
    away = "work, found = read(0); print(work(), found[0] is found[1], work(read(1)), work(3))"
    assert travel(home, away) == ["(True, '<MISSING>') True (True, '<MISSING>') (False, '3')"]


def test_names_that_only_annotations_mention_are_there(travel: Travel) -> None:
    home = """
    import dataclasses
    class Kind: pass
    class Other: pass
    @dataclasses.dataclass
    class Thing:
        kind: "Kind"
        others: "list[Other]"
    def work(thing: "Thing", n: "int" = 0) -> "Kind": ...
    write((work, Thing))
    """
    away = """
    import typing
    with pickling.loading_computation():
        work, Thing = read(0)
    hints = typing.get_type_hints(work)
    print(sorted(hints), hints["thing"] is Thing, typing.get_type_hints(Thing)["kind"] is hints["return"])
    """
    assert travel(home, away) == ["['n', 'return', 'thing'] True True"]


def test_subclasses_come_along_where_code_asks_for_them(travel: Travel) -> None:
    home = """
    class Plugin: pass
    class One(Plugin): pass
    class Two(One): pass
    def work(): return sorted(each.__name__ for each in Plugin.__subclasses__()), One.__subclasses__()[0].__name__
    write(work)
    """
    away = """
    import gc
    work = read(0)
    gc.collect()
    print(work())
    """
    assert travel(home, away) == ["(['One'], 'Two')"]


def test_long_chains_and_large_webs_of_definitions_travel(travel: Travel) -> None:
    home = """
    import dataclasses
    chain = "\\n".join(f"def f{n}(x): return f{n - 1}(x) + 1" for n in range(1, 700))
    web = "\\n".join(f"def g{n}(x): return x and g{(n * 7 + 1) % 500}(x - 1) + g{(n * 3 + 2) % 500}(x - 1) or 1"
                    for n in range(500))
    classes = "\\n".join(f"@dataclasses.dataclass\\nclass D{n}:\\n    x: 'D{n - 1}' = D{n - 1}" for n in range(1, 250))
    exec(f"def f0(x): return x\\n{chain}\\n{web}\\nclass D0: pass\\n{classes}")
    class Setting:
        def __setstate__(self, state): self.value = f3(state["n"])
        def __init__(self, n): self.n = n
    setting = Setting(1)
    def work(): return f699(1), g0(6), D249().x.__name__, setting.value
    write(work)
    """
    assert travel(home, "work = read(0); sys.setrecursionlimit(5000); print(work())") == ["(700, 64, 'D248', 4)"]


def test_what_belongs_to_the_process_is_that_of_the_other_one(travel: Travel) -> None:
    home = """
    import os, sys
    from os import environ
    from sys import modules, path
    os.environ["ONLY_AT_HOME"] = "secret"
    class Holder:
        env = os.environ
    def work(): return environ is os.environ, Holder.env is environ, path is sys.path, modules is sys.modules
    data = pickling.dumps(work)
    assert b"ONLY_AT_HOME" not in data
    write(work)
    """
    assert travel(home, "print(read(0)())") == ["(True, True, True, True)"]


def test_module_that_is_a_value_is_needed_as_a_whole(module: Callable[[str, str], Any]) -> None:
    module("own_low", "x = 1")
    texts = ["MODS = {'a': own_low}\ndef work(): return MODS", "def work(m=own_low): return m"]
    texts.append("class Holder:\n    mod = own_low\ndef work(): return Holder.mod")
    for number, text in enumerate(texts):
        findings = Findings()
        pickling.dumps_by_value(module(f"own_user{number}", f"import own_low\n{text}\n").work, None, findings)
        assert findings.whole == {"own_low"}


def test_attribute_of_a_module_that_is_counted_up_is_no_use_of_the_whole(module: Callable[[str, str], Any]) -> None:
    module("own_low", "x = 1")
    user = module("own_user", "import own_low\ndef work():\n    own_low.x += 5\n    return own_low.x\n")
    findings = Findings()
    pickling.dumps_by_value(user.work, None, findings)
    assert findings.whole == set()


def test_structures_of_ctypes_travel(travel: Travel) -> None:
    home = """
    import ctypes
    class Point(ctypes.Structure):
        _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]
        def total(self): return self.x + self.y
    class Pair(ctypes.Structure):
        _pack_ = 1
        _fields_ = [("first", Point), ("numbers", ctypes.c_short * 3)]
    def work(pair): return pair.first.total(), list(pair.numbers), type(pair) is Pair, ctypes.sizeof(Pair)
    write((work, Pair(Point(1, 2.5), (1, 2, 3))))
    """
    assert travel(home, "work, pair = read(0); print(work(pair))") == ["(3.5, [1, 2, 3], True, 22)"]


def test_what_an_argument_brings_finds_what_setup_has_set(travel: Travel) -> None:
    home = """
    model, extra = None, 1
    def setup():
        global model
        model = "loaded"
    def call(function): return function()
    class Uses:
        def __call__(self): return model
    write((call, setup), lambda: (model, extra), Uses())
    extra = 2
    open("3.payload", "wb").write(pickling.dumps(lambda: (model, extra)))
    """
    away = """
    with pickling.loading_computation():
        call, setup = read(0)
    setup()
    print(call(read(1)), call(read(2)), call(read(3)))
    """
    assert travel(home, away) == ["('loaded', 1) loaded ('loaded', 2)"]


def test_names_of_modules_that_nodes_give_are_theirs_where_the_programs_own_cannot_be_meant(travel: Travel) -> None:
    home = """
    time, os, math = "not the module", None, [1]
    def work(): return time.time() > 0, os.getcwd() != "", math.count(1)
    write(work)
    """
    away = "import builtins, os, time; builtins.time, builtins.os = time, os; print(read(0)())"
    assert travel(home, away) == ["(True, True, 1)"]


def test_names_in_queries_travel(travel: Travel) -> None:
    home = """
    THRESH, other = 5, 6
    def work(): return "a >= @THRESH and me@example.org", sorted({"THRESH", "other"} & globals().keys())
    write(work)
    """
    assert travel(home, "print(read(0)())") == ["('a >= @THRESH and me@example.org', ['THRESH'])"]
