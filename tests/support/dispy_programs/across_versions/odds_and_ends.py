"""Topics, see program.py: what is rarer, and ways to write text."""
# It is written in the many ways in which programs are.
# ruff: noqa

from __future__ import annotations

import abc
import collections
import contextlib
import dataclasses
import enum
import functools
import operator
import pathlib
import re
import typing
from dataclasses import dataclass, field

# Data classes


def children():
    return [Leaf(1), Leaf(2, "two")]


@dataclass
class Tree:
    """Its default makes objects of its own subclass."""

    below: list[Leaf] = field(default_factory=children)
    total: int = field(init=False, default=0)

    def count(self):
        return len(self.below) + sum(each.count() for each in self.below)


@dataclass
class Leaf(Tree):
    value: int = 0
    below: str = ""

    def __init__(self, value, below=""):
        self.value, self.below = value, below

    def count(self):
        return 0


@dataclass(unsafe_hash=True, match_args=False)
class Hashed:
    a: int
    b: list = field(default_factory=list, hash=False)

    def __eq__(self, other):
        return "own"

    @functools.cached_property
    def square(self):
        return self.a**2


T = typing.TypeVar("T")


@dataclass
class Box(typing.Generic[T], abc.ABC):
    item: T
    count: typing.ClassVar[int] = 0

    @abc.abstractmethod
    def open(self) -> T: ...

    def __post_init__(self):
        type(self).count += 1


@dataclass
class Crate(Box[int]):
    lid: bool = True

    def open(self) -> int:
        return self.item


Quick = dataclasses.make_dataclass(
    "Quick", [("x", int), ("y", int, 5)], namespace={"sum": lambda self: self.x + self.y}
)


@dataclass
class Changed:
    a: int = 1

    def shown(self):
        return self.a


Changed.a = 8
Changed.__repr__ = lambda self: f"changed {self.a}"


class Plain:
    @dataclass(frozen=True)
    class Inner:
        a: Plain | None = None

        def outer(self):
            return Plain().make()

    def make(self):
        return self.Inner(self)


def rare_dataclasses(tree, quick, crate):
    leaf = tree.below[1]
    seen = [tree.count(), leaf.value, leaf.below, type(leaf) is Leaf, [each.name for each in dataclasses.fields(Leaf)]]
    seen += [
        hash(Hashed(1)) == hash(Hashed(1, [2])),
        Hashed(3) == 4,
        Hashed(3).square,
        hasattr(Hashed, "__match_args__"),
    ]
    seen += [
        crate.open(),
        crate,
        Crate.__parameters__,
        Box.__parameters__ == (T,),
        crate == Crate(7),
        quick.sum(),
        repr(quick),
    ]
    seen += [Changed().a, Changed.a, repr(Changed(2)), Changed(3).shown(), type(Plain().make().outer().a) is Plain]
    with contextlib.suppress(TypeError):
        seen.append(Box(1))
    return [str(each) for each in seen], tree, Quick(2), Crate(1), Plain.Inner()


def rare_dataclasses_back(result):
    seen, tree, quick, crate, inner = result
    here = [type(tree) is Tree, type(tree.below[0]) is Leaf, type(quick) is Quick, type(crate) is Crate]
    return [*seen, *here, type(inner) is Plain.Inner, inner == Plain.Inner(), quick.sum()]


# Enumerations

Kind = enum.Enum("Kind", "ONE TWO", module=__name__)


@enum.unique
class Status(enum.Enum):
    OK = "ok"
    BAD = "bad"

    @classmethod
    def _missing_(cls, value):
        return cls.BAD

    def __str__(self):
        return f"status {self.value}"

    def __bool__(self):
        return self is Status.OK

    def __lt__(self, other):
        return self.value < other.value


class Base(enum.Enum):
    """Without members."""

    def described(self):
        return f"{type(self).__name__}.{self.name}={self.value!r}"


class Derived(Base):
    A = (1, 2)
    B = frozenset((3,))


class Number(float, enum.Enum):
    PI = 3.25
    E = 2.5

    @staticmethod
    def twice(x):
        return x * 2


class Machine:
    class State(enum.IntEnum):
        OFF = 0
        ON = 1

        def flipped(self):
            return Machine.State(1 - self)

    table = {State.OFF: "off", State.ON: "on"}

    def __init__(self):
        self.state = self.State.OFF

    def run(self):
        self.state = self.state.flipped()
        match self.state:
            case Machine.State.ON:
                return self.table[self.state]
        return "?"


def rare_enums(status, machine):
    seen = [str(status), Status("?"), bool(Status.BAD), sorted(Status)[0].name, Kind.TWO.value, Kind["ONE"] is Kind.ONE]
    seen += [
        Derived.A.described(),
        Derived((1, 2)) is Derived.A,
        list(Derived.B.value),
        Number.PI + 1,
        Number.twice(Number.E),
    ]
    seen += [
        machine.run(),
        machine.run(),
        Machine.State.ON + 1,
        Machine.State(1).name,
        Machine.table[1],
        f"{Number.E.value}",
    ]
    return [str(each) for each in seen], Status.BAD, Kind.TWO, Machine.State.ON, machine


def rare_enums_back(result):
    seen, status, kind, state, machine = result
    return [
        *seen,
        status is Status.BAD,
        kind is Kind.TWO,
        state is Machine.State.ON,
        machine.state is Machine.State.OFF,
    ]


# Classes

HANDLERS = {}


def handles(name):
    def register(cls):
        HANDLERS[name] = cls
        return cls

    return register


@handles("first")
class First:
    def others(self):
        return sorted(HANDLERS)


@handles("second")
class Second(First):
    def others(self):
        return [*super().others(), type(self).__name__, __class__.__name__]


class Positive:
    """A descriptor."""

    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, instance, owner=None):
        return self if instance is None else getattr(instance, self.name)

    def __set__(self, instance, value):
        if value < 0:
            raise Negative(value, self.name)
        setattr(instance, self.name, value)


class Negative(ValueError):
    def __init__(self, value, name):
        super().__init__(value, name)
        self.name = name


class Compact:
    __slots__ = ("__secret", "_size", "__weakref__")
    size = Positive()
    names = [name.upper() for name in ("a", "b")]
    by_name = {name: (lambda n: lambda: n)(name) for name in "xy"}

    def __init__(self, size=1):
        self.size = size
        self.__secret = 5

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return f"no {name}"

    def __class_getitem__(cls, item):
        return f"{cls.__name__}[{item}]"

    def __call__(self, /, x, *args, key=1, **options):
        """Its text has

        more than one line, and a \\ and 'quotes'."""

        class Result:
            __hidden = x

            def total(self):
                return self.__hidden + key + sum(args)

        def peek(__y=2):
            return self.__secret * __y

        return Result().total(), peek(), sorted(options), [self.__secret for _ in range(2)]

    def __matmul__(self, other):
        return self.size * other.size


Dynamic = type("Dynamic", (Compact,), {"__slots__": (), "more": lambda self: self.size + 1})


class Comparable(typing.Protocol[T]):
    def compare(self, other: T) -> int: ...


@typing.runtime_checkable
class Named(Comparable[int], typing.Protocol):
    name: str


class Person:
    name = "p"

    def compare(self, other):
        return 0


@contextlib.contextmanager
def opened(name):
    yield name.upper()


class Base1(typing.TypedDict):
    a: int


class Base2(Base1, total=False):
    b: str


Functional = typing.NamedTuple("Functional", [("q", int), ("r", str)])
get_first = operator.itemgetter(0)
pattern = re.compile(r"(\d+)-(?P<word>\w+)")
Old = collections.namedtuple("Old", ["a", "b"])
Old.__new__.__defaults__ = (None, 3)


def classes(compact, second):
    seen = [second.others(), HANDLERS["first"] is First, compact(1, 2, 3, key=4, z=0), Compact["int"], compact.lacking]
    seen += [compact.names, Compact.by_name["x"](), compact @ Compact(3), Compact.size.name, Dynamic(4).more()]
    try:
        compact.size = -1
    except Negative as error:
        seen += [error.name, error.args]
        failure = error
    seen += [isinstance(Person(), Named), isinstance(3, Named), Base2.__required_keys__ == {"a"}, Base2(a=1), Old(1)]
    with opened("file") as name:
        seen.append(name)
    seen += [
        get_first("xyz"),
        pattern.match("12-ab")["word"],
        Functional(1, "r"),
        Functional.__new__.__annotations__["q"],
    ]
    return [str(each) for each in seen], compact, Dynamic(2), failure, Functional(3, "s"), Old()


def classes_back(result):
    seen, compact, dynamic, failure, functional, old = result
    here = [type(compact) is Compact, compact(0)[1], type(dynamic) is Dynamic, type(failure) is Negative, failure.name]
    return [*seen, *here, type(functional) is Functional, type(old) is Old, old]


def with_method_of_text(cls):
    names = {}
    exec("def __init__(self, a=3):\n    self.a = a\n", names)
    cls.__init__ = names["__init__"]
    return cls


@with_method_of_text
class Executed:
    """It has a method without a text, and so does what its own text says."""

    base = 4
    later = 1

    def total(self):
        return self.a + self.base + self.later


@with_method_of_text
class Further(Executed):
    class Inner:
        def outer(self):
            return Further(2).total()

    def total(self):
        return super().total() + 10


Executed.later = 100


def executed(made):
    return [made.total(), Further().total(), Further.Inner().outer(), isinstance(made, Executed)], Further(5), made


def executed_back(result):
    seen, further, made = result
    return [*seen, type(further) is Further, further.total(), type(made) is Executed]


def paths(path):
    return [path.name, isinstance(path, pathlib.Path), str(path / "c")], path.parent, pathlib.PurePosixPath("x")


def paths_back(result):
    seen, path, pure = result
    return [*seen, path == pathlib.Path("/a"), type(pure) is pathlib.PurePosixPath]


# Ways to write text

# fmt: off
if True:
    def indented(a, b = 2, /, c = 3, *, d = (4)):
        return a+b+c+d

def one_line(x): return x * 2; 


multiple = functools.reduce(
    lambda first, second: (
        first * second  # a comment
        + 1
    ),
    [1, 2, 3],
)
chosen = [
    lambda x: (
        x
        + 1
    ), lambda x, *y: [x, *y],
]


@handles(
    "with lines"
)
@handles(name="again")
def decorated_in_lines(text="""one
    two
three""", *more, **rest):
  
    "Its text."; return text, rest


def größe(naïve="ü", *, 名前=1):
    return f"{naïve}{名前}\N{BULLET}\u20ac\x41\ud800".encode("utf-8", "surrogatepass").hex()


def constants(n):
    huge = 123456789012345678901234567890
    values = [huge, 1e400, -0.0, 1j, ..., None, True, b"\x00\n'\"", r"\d", "a" "b", 0xFF, 1_0, 1e-7, (), (1,), ((1, (2,)),)]
    inside = [n in {1, 2, "x"}, n in (1, 2), n not in [4], n is not None, not n, n if n > 1 else -n, ~n, +n, n**-1, n // 2]
    text = [f"{n=} {n!r:>{n + 2}}{'{'}}} {{", f"{'a' if n else 'b'}{n:,}", f"{[x for x in range(2)]}", f'{"q"}', "%s" % n]
    text += [f"{n:{'>' if n else '<'}4}", f"""{
        n + 1
    } "both" 'kinds'""", f"{n}" "plain" f"{'x'!s:^3}", f"{lambda_of(lambda: n)}", rf"\{n}", f"{n}\n\t{{}}"]
    first, *middle, last = *range(3), *[n]
    matrix = {**{"a": 1}, "b": [*middle]} | {"c": last}
    while True:
        try:
            n -= 1
            if n < 0: break
            elif n == 0: continue
            else: pass
        finally:
            text.append(n)
    else:
        text.append("never")
    with contextlib.nullcontext(1) as a, contextlib.nullcontext((2, 3)) as (b, c):
        matrix[a] = b + c
    global made_global
    made_global = values[:1]
    total = 0
    for x, y in zip(range(3), "abc"): total += x; matrix[y] = x
    else: matrix["else"] = total
    matrix["sliced"] = [list(range(9))[1:7:2], [*"abc"][::-1], (yes := 5) + yes, first]
    matrix["inner"] = [[x + y for x in range(2) if x] for y in range(2)], {x: {x} for x in "a"}, list(x for x in "b")
    del first
    try:
        raise KeyError("k") from ValueError(n)
    except (KeyError, TypeError) as error:
        matrix["cause"] = repr(error.__cause__)
    assert matrix, "nothing"
    return values, inside, text, matrix, made_global


def lambda_of(function):
    return function() + 1


def generator(n):
    def inner():
        nonlocal n
        n += 1
        received = yield n
        return [received]
    result = yield from inner()
    yield result, n


def texts(choose):
    made = generator(3)
    seen = [indented(1), one_line(2), multiple, choose[0](1), choose[1](1, 2), decorated_in_lines(k=1), decorated_in_lines.__doc__]
    seen += [größe(名前=2), constants(3), next(made), made.send("s"), constants.__annotations__, HANDLERS["again"] is decorated_in_lines]
    return str(seen)


def as_it_is(result):
    return result


# fmt: on
TOPICS = {
    "rare dataclasses": (rare_dataclasses, lambda: (Tree(), Quick(1), Crate(7)), rare_dataclasses_back),
    "rare enums": (rare_enums, lambda: (Status.OK, Machine()), rare_enums_back),
    "classes": (classes, lambda: (Compact(), Second()), classes_back),
    "executed": (executed, lambda: (Executed(1),), executed_back),
    "paths": (paths, lambda: (pathlib.Path("/a/b"),), paths_back),
    "texts": (texts, lambda: (chosen,), as_it_is),
}
