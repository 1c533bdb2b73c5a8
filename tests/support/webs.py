"""Random programs: functions, classes, closures and modules that refer to each other, as source text.

Each definition is called with a small number, answers with plain data, and calls others with a smaller number while
that is above 0. What a program refers to when a definition is made comes before it; what it refers to when it is
called may come later, so that functions, classes and modules form cycles.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

#: Where definitions stand: modules and packages of the program, text that it executes, itself. Each may refer to those
#: before it.
PLACES = ("web_low", "web_pack", "web_pack.inner", "text", "__main__")
LOW, PACK, INNER, TEXT, MAIN = range(5)
#: What every place imports.
HEADER = """\
import abc, collections, concurrent.futures, dataclasses, enum, functools, math, os.path, threading, typing
import xml.dom.minidom
"""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of definition. In `text` NAME is its name, MORE the list of what it calls with less than `n`, READY
    something that was made before (BASE a class), SAME whether what it kept of that is still that; `call` is what the
    others write to call it, with its name in NAME and the number in N."""

    text: str
    call: str
    #: `BASE(n)` may be a base of another class, and `BASE(n).go(n)` answers.
    is_base: bool = False
    #: Whether it is one object, however often it travels.
    is_one: bool = True


KINDS: dict[str, Kind] = {}


def kind(name: str, text: str, call: str, **options: bool) -> None:
    KINDS[name] = Kind(textwrap.dedent(text).strip() + "\n", call, **options)


kind("function", "def NAME(n): return ['NAME', n, MORE]", "NAME(N)")
kind("lambda", "NAME = lambda n: ['NAME', n, MORE]", "NAME(N)", is_one=False)
kind(
    "defaults",
    """
    def NAME(n, ready=READY, *, rest=(1, {"a": READY})):
        rest[1]["count"] = rest[1].get("count", 0) + 1
        return [n, MORE, ready is READY, rest[1]["a"] is ready, rest[1]["count"]]
    """,
    "NAME(N)",
)
kind(
    "annotated",
    """
    def NAME(n: READY = 1, /, *more: "int", **options: list[int]) -> READY:
        "What it is for."
        return [n, MORE, NAME.__doc__, sorted(NAME.__annotations__), NAME.__annotations__["n"] is READY]
    """,
    "NAME(N)",
)
kind(
    "closures",
    """
    def make_NAME(k):
        seen, total = [], 0
        def add(n):
            nonlocal total
            total += n + k
            seen.append(look)
            return [n, MORE, total, READY.__class__.__name__]
        def look():
            return [total, len(seen), all(each is look for each in seen)]
        return add, look
    NAME, look_NAME = make_NAME(3)
    other_NAME, _ = make_NAME(4)
    """,
    "[NAME(N), look_NAME(), other_NAME(N)]",
    is_one=False,
)
kind(
    "inner_recursion",
    """
    def make_NAME():
        def NAME(n): return [n, MORE] + (NAME(n - 1) if n > 0 else [])
        return NAME
    NAME = make_NAME()
    """,
    "NAME(N)",
    is_one=False,
)
kind(
    "decorated",
    """
    def around_NAME(mark):
        def decorate(function):
            @functools.wraps(function)
            def wrapped(*args, **kwargs):
                wrapped.count += 1
                return [mark, wrapped.count, function(*args, **kwargs), NAME is wrapped]
            wrapped.count = 0
            return wrapped
        return decorate
    @around_NAME("first")
    def NAME(n): return [n, MORE, NAME.__name__, NAME.__wrapped__.__name__]
    """,
    "NAME(N)",
    is_one=False,
)
kind(
    "rebinds_a_global",
    """
    count_NAME = 0
    def NAME(n):
        global count_NAME
        count_NAME += 1
        return [n, MORE, count_NAME]
    def look_NAME(): return count_NAME
    """,
    "[NAME(N), look_NAME()]",
)
kind(
    "cached",
    """
    @functools.lru_cache(maxsize=None)
    def NAME(n): return [n, MORE, NAME(n - 1) if n > 0 else 0]
    """,
    "[NAME(N), NAME(N) is NAME(N)]",
)
kind(
    "partial",
    """
    def base_NAME(k, n, extra=None): return [k, n, MORE, extra is READY]
    NAME = functools.partial(base_NAME, 7, extra=READY)
    """,
    "[NAME(N), NAME.func is base_NAME]",
    is_one=False,
)
kind(
    "singledispatch",
    """
    class For_NAME: pass
    @functools.singledispatch
    def NAME(n): return ["any"]
    @NAME.register(int)
    def _(n): return ["int", n, MORE]
    @NAME.register
    def _(n: For_NAME): return ["own"]
    """,
    "[NAME(N), NAME('x'), NAME(For_NAME())]",
)
kind("generator", "def NAME(n): yield from [n, MORE, 'end']", "list(NAME(N))")
kind(
    "coroutine",
    """
    async def NAME(n): return [n, MORE]
    def drive_NAME(n):
        try: NAME(n).send(None)
        except StopIteration as end: return end.value
    """,
    "drive_NAME(N)",
)
kind("has_attributes", "def NAME(n):\n    NAME.calls += 1\n    return [n, MORE, NAME.calls]\nNAME.calls = 0", "NAME(N)")
kind(
    "uses_modules",
    """
    def NAME(n):
        import json
        names = [concurrent.futures.ThreadPoolExecutor.__name__, os.path.basename("a/b"), math.floor(2.5)]
        return [n, MORE, names, json.dumps([n]), xml.dom.minidom.parseString("<b/>").documentElement.tagName]
    """,
    "NAME(N)",
)
kind(
    "matches",
    """
    def NAME(n):
        match n:
            case 0: found = "none"
            case int() as number if (more := number + 1) > 2: found = more
            case _: found = {f"{each!r:>3}": each for each in range(n)}
        return [n, MORE, found, lambda: found][:3]
    """,
    "NAME(N)",
)
kind(
    "class",
    """
    class NAME(BASE):
        made = []
        def __init__(self, n):
            super().__init__(n)
            self.n = n
            NAME.made.append(type(self).__name__)
        def go(self, n): return [n, MORE, self.n, super().go(n), len(NAME.made)]
        @staticmethod
        def plain(n): return [n, MORE]
        @classmethod
        def of(cls, n): return [cls is NAME, cls(n).n, __class__ is NAME]
        @property
        def twice(self): return 2 * self.n
        @twice.setter
        def twice(self, value): self.n = value // 2
        def __hidden(self): return "hidden"
        def shown(self): return self.__hidden()
        def __eq__(self, other): return isinstance(other, NAME) and other.n == self.n
        def __hash__(self): return hash(self.n)
    def use_NAME(n):
        one = NAME(n)
        one.twice = 8
        return [one.go(n), one.twice, NAME.plain(n), NAME.of(n), one.shown(), isinstance(one, BASE), NAME(4) == one]
    """,
    "use_NAME(N)",
    is_base=True,
)
kind(
    "local_class",
    """
    def make_NAME(k):
        class Local(BASE):
            def __init__(self, n):
                super().__init__(n)
                self.k = k
            def go(self, n): return [n, MORE, self.k, super().go(n), type(self) is Local, Local.__qualname__]
        return Local
    NAME = make_NAME(5)
    """,
    "NAME(N).go(N)",
    is_base=True,
)
kind(
    "nested",
    """
    class NAME:
        class Inner:
            class Most(BASE):
                def go(self, n): return [n, MORE, NAME.Inner.Most is type(self), super().go(n)]
            def go(self, n): return [NAME.Inner.__qualname__, isinstance(self, NAME.Inner), self.Most(n).go(n)]
        def inner(self): return NAME.Inner()
    """,
    "NAME().inner().go(N)",
)
kind(
    "holds_its_own",
    """
    class NAME(BASE):
        one = None
        def go(self, n): return [n, MORE, self is NAME.one, type(NAME.one) is NAME, NAME.all[0] is NAME]
    NAME.one = NAME(5)
    NAME.all = [NAME, NAME.one]
    """,
    "[NAME.one.go(N), NAME(N).go(N)]",
    is_base=True,
)
kind(
    "registry",
    """
    class NAME:
        kinds, told = {}, []
        def __init_subclass__(cls, *, tag="none", **options):
            super().__init_subclass__(**options)
            cls.tag = tag
            NAME.kinds[tag] = cls
            NAME.told.append(tag)
        def go(self, n): return [n, MORE, self.tag, type(self) is NAME.kinds[self.tag]]
    class one_NAME(NAME, tag="one"): pass
    class two_NAME(NAME, tag="two"): pass
    def use_NAME(n):
        class late(NAME, tag="late"): pass
        return [late().go(n), NAME.told]
    """,
    "[NAME.kinds['one']().go(N), NAME.kinds['two'] is two_NAME, sorted(NAME.kinds), NAME.told[:], use_NAME(N)]",
)
kind(
    "metaclass",
    """
    class Meta_NAME(type):
        made = []
        def __new__(meta, name, bases, space, *, mark):
            cls = super().__new__(meta, name, bases, {**space, "mark": mark})
            meta.made.append(cls)
            return cls
        def __init__(cls, name, bases, space, *, mark): super().__init__(name, bases, space)
        def __call__(cls, *args): return [cls.mark, super().__call__(*args)]
        def __len__(cls): return len(Meta_NAME.made)
    class NAME(metaclass=Meta_NAME, mark="first"):
        def __init__(self, n): self.n = n
        def go(self, n): return [n, MORE, self.n, type(type(self)) is Meta_NAME, len(NAME)]
    class under_NAME(NAME, mark="second"): pass
    def use_NAME(): return Meta_NAME.made == [NAME, under_NAME]
    """,
    "[NAME(N)[1].go(N), under_NAME(N)[1].go(N), NAME(N)[0], Meta_NAME.made[0] is NAME, use_NAME()]",
)
_MEMBERS = "[[each.name, each.value] for each in NAME]"
kind(
    "enum",
    f"""
    class NAME(enum.Enum):
        A = 1
        B = READY_VALUE
        C = 1
        def go(self, n): return [n, MORE, self.name, self is NAME[self.name], NAME.C is NAME.A, {_MEMBERS}]
        @classmethod
        def _missing_(cls, value): return cls.A
    default_NAME = NAME.B
    def use_NAME(n, member=NAME.B): return [member is default_NAME is NAME.B, NAME("other") is NAME.A]
    """,
    "[NAME.A.go(N), NAME(1) is NAME.A, use_NAME(N), NAME.B.go(N)]",
)
kind(
    "enum_with_init",
    f"""
    class NAME(enum.Enum):
        EARTH = (5, 6)
        MARS = (1, 3)
        def __init__(self, mass, radius):
            self.mass, self.radius = mass, radius
        @property
        def ratio(self): return [self.mass, self.radius]
        def go(self, n): return [n, MORE, self.ratio, {_MEMBERS}, NAME((1, 3)) is NAME.MARS]
    """,
    "NAME.MARS.go(N)",
)
kind(
    "enum_with_new",
    f"""
    class NAME(bytes, enum.Enum):
        ONE = (1, "one")
        TWO = (2, "two")
        def __new__(cls, value, label):
            made = bytes.__new__(cls, [value])
            made._value_ = value
            made.label = label
            return made
        def go(self, n): return [n, MORE, self.label, bytes(self), {_MEMBERS}, NAME(2) is NAME.TWO]
    """,
    "NAME.TWO.go(N)",
)
kind(
    "enum_mixed",
    f"""
    class mixin_NAME:
        def mixed(self): return [self.name, self is NAME(self.value)]
    class NAME(mixin_NAME, str, enum.Enum):
        RED = "red"
        BLUE = "blue"
        def go(self, n): return [n, MORE, self.mixed(), self == "red", self.upper(), {_MEMBERS}]
    """,
    "NAME.RED.go(N)",
)
kind(
    "int_enum",
    f"""
    class NAME(enum.IntEnum):
        A = 1
        B = enum.auto()
        def go(self, n): return [n, MORE, self + 1, {_MEMBERS}]
    """,
    "[NAME.B.go(N), NAME(2) is NAME.B, NAME.A < NAME.B]",
)
kind(
    "flag",
    """
    class NAME(enum.Flag):
        R = enum.auto()
        W = enum.auto()
        RW = R | W
        def go(self, n): return [n, MORE, self.value, NAME.R in self, self & NAME.W == NAME.W]
    both_NAME = NAME.R | NAME.W
    """,
    "[both_NAME.go(N), both_NAME is NAME.RW, (NAME.R | NAME.W) is both_NAME, (~NAME.R).value, len(NAME.__members__)]",
)
for _name, _options in {
    "dataclass": "",
    "dataclass_frozen": "frozen=True, order=True",
    "dataclass_slots": "slots=True",
    "dataclass_both": "frozen=True, slots=True, kw_only=True",
}.items():
    _made = "NAME(n=N)" if "kw_only" in _options else "NAME(N)"
    kind(
        _name,
        f"""
        @dataclasses.dataclass({_options})
        class NAME:
            n: int
            items: list = dataclasses.field(default_factory=lambda: [READY is READY], compare=False)
            tag: str = dataclasses.field(default="tag", metadata={{"unit": "m"}})
            kind: typing.ClassVar[str] = "class"
            def go(self, n): return [n, MORE, self.n, self.items, dataclasses.is_dataclass(NAME), repr(self)]
        def use_NAME(one):
            other = dataclasses.replace(one, tag="other")
            fields = [[each.name, each.metadata.get("unit"), each.type is int] for each in dataclasses.fields(one)]
            return [other.tag, type(other) is NAME, fields, dataclasses.astuple(one), one == dataclasses.replace(one)]
        """,
        f"[{_made}.go(N), use_NAME({_made})]",
    )
kind(
    "named_tuple",
    """
    class NAME(typing.NamedTuple):
        n: int
        rest: tuple = (1, 2)
        def go(self, n): return [n, MORE, self._replace(n=9).n, self._fields, isinstance(self, NAME), self[0]]
    old_NAME = collections.namedtuple("old_NAME", "a b", defaults=[READY])
    def is_kept_NAME(one): return one.b is READY
    """,
    "[NAME(N).go(N), is_kept_NAME(old_NAME(1)), old_NAME(1, 2)._asdict(), type(old_NAME(1)) is old_NAME]",
)
kind(
    "abstract",
    """
    class NAME(abc.ABC):
        def __init__(self, n): self.n = n
        @abc.abstractmethod
        def go(self, n): ...
        @property
        @abc.abstractmethod
        def label(self): ...
    class real_NAME(NAME):
        def go(self, n): return [n, MORE, self.n, self.label]
        label = "label"
    class virtual_NAME: pass
    NAME.register(virtual_NAME)
    def use_NAME(n):
        try: made = NAME(n)
        except TypeError: made = "abstract"
        return [made, isinstance(virtual_NAME(), NAME), issubclass(int, NAME), sorted(NAME.__abstractmethods__)]
    """,
    "[real_NAME(N).go(N), use_NAME(N), isinstance(real_NAME(N), NAME)]",
)
kind(
    "generic",
    """
    T_NAME = typing.TypeVar("T_NAME", bound=int)
    class NAME(typing.Generic[T_NAME]):
        def go(self, n: T_NAME) -> "list[T_NAME]": return [n, MORE, NAME.__parameters__[0] is T_NAME]
    class under_NAME(NAME[int]): pass
    Id_NAME = typing.NewType("Id_NAME", int)
    alias_NAME = typing.Union[NAME[int], typing.List[T_NAME], None]
    """,
    "[NAME[int]().go(N), under_NAME().go(N), under_NAME.__orig_bases__[0] == NAME[int], Id_NAME(N), Id_NAME.__name__,"
    " alias_NAME.__args__[0].__origin__ is NAME, alias_NAME.__parameters__[0] is T_NAME, T_NAME.__bound__ is int]",
)
kind(
    "descriptors",
    """
    class Field_NAME:
        def __set_name__(self, owner, name): self.name, self.told = name, getattr(self, "told", 0) + 1
        def __get__(self, one, owner=None): return self if one is None else [one.__dict__.get(self.name), self.told]
        def __set__(self, one, value): one.__dict__[self.name] = value
    class NAME:
        field = Field_NAME()
        def __init__(self, n): self.field = n
        @functools.cached_property
        def lazy(self): return [self.field]
        later = functools.partialmethod(lambda self, k, n: [k, n, self.field], 4)
        def __call__(self, n): return [n, MORE, self.field, NAME.field.name, self.lazy is self.lazy, self.later(n)]
    one_NAME = NAME(3)
    """,
    "[NAME(N)(N), one_NAME(N), type(one_NAME) is NAME]",
)
kind(
    "slots",
    """
    class NAME:
        __slots__ = ("n", "unset", "__weakref__")
        def __init__(self, n): self.n = n
        def go(self, n): return [n, MORE, self.n, hasattr(self, "unset"), hasattr(self, "__dict__")]
    one_NAME = NAME(6)
    """,
    "[one_NAME.go(N), NAME(N).go(N), NAME.n.__get__(one_NAME)]",
)
kind(
    "locks",
    """
    lock_NAME = threading.Lock()
    class NAME:
        def __init__(self): self.lock, self.ready, self.sum = threading.RLock(), threading.Condition(), 0
        def go(self, n):
            with self.lock, self.lock, self.ready, lock_NAME:
                self.ready.notify_all()
                self.sum += 1
                return [n, self.sum]
    one_NAME = NAME()
    """,
    "[one_NAME.go(N), NAME().go(N)]",
)
kind(
    "error",
    """
    class NAME(Exception):
        def __init__(self, code, why):
            super().__init__(f"{code}: {why}")
            self.code = code
    def use_NAME(n):
        try: raise NAME(n, MORE)
        except NAME as error: return [str(error), error.code, isinstance(error, NAME)]
    """,
    "use_NAME(N)",
)
kind(
    "mates",
    """
    class NAME(BASE):
        def make(self): return mate_NAME(1)
        def go(self, n): return [n, MORE, type(self.make().make()) is NAME]
    class mate_NAME(BASE):
        def make(self): return NAME(1)
    """,
    "[NAME(N).go(N), isinstance(mate_NAME(1).make(), NAME), isinstance(NAME(1).make(), mate_NAME)]",
    is_base=True,
)
kind(
    "container",
    """
    NAME = {"log": [], "ready": READY}
    NAME["self"] = NAME
    def use_NAME(n):
        NAME["log"].append(n)
        return [n, MORE, len(NAME["log"]), NAME["self"] is NAME, NAME["ready"] is READY, NAME["use"] is use_NAME]
    NAME["use"] = use_NAME
    """,
    "[use_NAME(N), NAME['use'](N)]",
    is_one=False,
)
kind(
    "instance",
    """
    NAME = BASE(4)
    NAME.around, NAME.method = [NAME], NAME.go
    def use_NAME(n):
        NAME.n = NAME.n + n
        return [NAME.go(n), NAME.around[0] is NAME, NAME.method.__self__ is NAME, NAME.n, type(NAME) is BASE]
    """,
    "use_NAME(N)",
    is_one=False,
)
kind(
    "bound_method", "owner_NAME = BASE(4)\nNAME = owner_NAME.go", "[NAME(N), NAME.__self__ is owner_NAME]", is_one=False
)


class Web:
    """A program: the texts of its files, and the names in `__main__` of all definitions -> whether each is one object,
    however often it travels."""

    def __init__(self, files: dict[str, str], names: dict[str, bool]) -> None:
        self.files, self.names = files, names

    def __repr__(self) -> str:
        return "".join(f"\n# {path}\n{text}" for path, text in self.files.items())


@dataclasses.dataclass
class _Definition:
    name: str
    place: int
    kind: Kind


class _Writer:
    """Writes the program of which a plan is drawn."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=9))
        drawn = [(draw(st.sampled_from(range(5))), kind) for kind in kinds]
        drawn.sort(key=lambda each: each[0])
        self.plan = [_Definition(f"d{i}", place, KINDS[kind]) for i, (place, kind) in enumerate(drawn)]
        self.is_by_attribute = [draw(st.booleans()) for _ in PLACES]
        self.bodies: list[list[str]] = [[] for _ in PLACES]
        #: What each place imports by `from` at its top.
        self.taken: list[set[tuple[int, str]]] = [set() for _ in PLACES]

    def web(self) -> Web:
        for each in self.plan:
            self.bodies[each.place].append(self.text(each))
        self.bodies[MAIN].append(self.probe())
        low, pack, inner, text, main = (self.beginning(place) + "".join(self.bodies[place]) for place in range(5))
        names = {self.reach(MAIN, each, each.name): each.kind.is_one for each in self.plan}
        files = {"web_low.py": low, "web_pack/__init__.py": pack, "web_pack/inner.py": inner}
        return Web({**files, "main.py": main.replace("TEXT", repr(text))}, names)

    def beginning(self, place: int) -> str:
        # Of executed text, dataclasses would look for the module.
        is_future = place != TEXT and self.draw(st.booleans())
        future = "from __future__ import annotations\n" if is_future else ""
        return future + HEADER + self.imports(place) + (self.executed() if place == MAIN else "") + BASICS

    def text(self, owner: _Definition) -> str:
        """A definition, with what it refers to put in."""
        text = owner.kind.text
        ready = self.plan[: self.plan.index(owner)]
        bases = [each for each in ready if each.kind.is_base]
        one = self.draw(st.sampled_from([None, *ready])) if "READY" in text else None
        base = self.draw(st.sampled_from([None, *bases])) if "BASE" in text else None
        text = text.replace("READY_VALUE", "2")
        text = text.replace("READY", self.reach(owner.place, one, one.name) if one else "int")
        text = text.replace("BASE", self.reach(owner.place, base, base.name) if base else "Basic")
        while "MORE" in text:
            text = text.replace("MORE", f"({self.more(owner)} if n > 0 else 0)", 1)
        return text.replace("NAME", owner.name)

    def more(self, owner: _Definition) -> str:
        """The list of calls of others."""
        near = [each for each in self.plan if each.place <= owner.place]
        found = self.draw(st.lists(st.sampled_from(near), max_size=2))
        calls = [self.call(owner.place, each, "n - 1") for each in found]
        return f"[{', '.join(calls)}]"

    def call(self, place: int, other: _Definition, number: str) -> str:
        """How a place calls a definition: with all names in the call as that place reaches them."""
        words = []
        template = other.kind.call.replace("NAME", "\0")
        for part in _words(template):
            if "\0" in part:
                words.append(self.reach(place, other, part.replace("\0", other.name)))
            else:
                words.append(number if part == "N" else part)
        return "".join(words)

    def reach(self, place: int, other: _Definition, name: str) -> str:
        """How a place names a name that stands beside a definition."""
        if other.place == place:
            return name
        if other.place == TEXT:
            return f"of_text_{name}"
        if self.is_by_attribute[place]:
            return f"{PLACES[other.place]}.{name}"
        self.taken[place].add((other.place, name))
        return name

    def imports(self, place: int) -> str:
        lines = [f"import {name}\n" for name in PLACES[: min(place, TEXT)]]
        for where, name in sorted(self.taken[place]):
            lines.append(f"from {'.' if (place, where) == (INNER, PACK) else PLACES[where]} import {name}\n")
        return "".join(lines)

    def executed(self) -> str:
        """The lines of `__main__` that execute the text and take all names from it."""
        name = self.draw(st.sampled_from(("__main__", "web_plugin")))
        return (
            "def execute(text, name):\n    space = {'__name__': name}\n"
            "    exec(compile(text, '<text>', 'exec', dont_inherit=True), space)\n    return space\n"
            f"for name, value in execute(TEXT, {name!r}).items():\n"
            "    if not name.startswith('__'): globals()['of_text_' + name] = value\n"
        )

    def probe(self) -> str:
        """A function that calls all, and compares what it is given with what it refers to."""
        lines = ["def probe(things):", "    told = []"]
        for each in self.plan:
            name = self.reach(MAIN, each, each.name)
            call = self.call(MAIN, each, "2")
            lines.append(f"    told.append([{name!r}, things[{name!r}] is {name}, {call}])")
        things = ", ".join(f"{name!r}: {name}" for name in (self.reach(MAIN, each, each.name) for each in self.plan))
        return "\n".join([*lines, "    return told", f"things = {{{things}}}", ""])


#: The class under those that have no other one.
BASICS = """
class Basic:
    def __init__(self, n): self.n = n
    def go(self, n): return [n, self.n, isinstance(self, Basic)]
"""


def _words(text: str) -> list[str]:
    """The text in words and what is between them."""
    words = [""]
    for letter in text:
        is_word = letter.isalnum() or letter in "_\0"
        was_word = bool(words[-1]) and (words[-1][-1].isalnum() or words[-1][-1] in "_\0")
        if is_word == was_word:
            words[-1] += letter
        else:
            words.append(letter)
    return words


@st.composite
def webs(draw: Callable[[Any], Any]) -> Web:
    return _Writer(draw).web()
