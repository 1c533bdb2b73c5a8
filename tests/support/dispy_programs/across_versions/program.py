"""What a program defines, computed on a node that may run another version of Python.

    python program.py HOST:PORT

Each topic is a function, its arguments, and what of its result the client sees. It runs twice: as part of the
computation, and as a mere argument, which has the node learn of its definitions from that alone. For each topic one line
of JSON is printed: how it ran, its name, and what was seen (or the error).
"""
# ruff: noqa: RUF009, UP007, UP046, B019

import abc
import asyncio
import collections
import dataclasses
import enum
import functools
import json
import sys
import typing
from dataclasses import dataclass, field

import gdispy
import plain_module
import workshop.tools.saw
from plain_module import Brick, Weight, weigh
from workshop import Bench, tools
from workshop.tools import hammer as nail_driver

# Enumerations


class Color(enum.Enum):
    RED = 1
    GREEN = 2
    BLUE = 3
    CRIMSON = 1

    def mixed_with(self, other):
        return f"{self.name}+{other.name}"

    @property
    def next(self):
        return Color(self.value % 3 + 1)

    @classmethod
    def first(cls):
        return next(iter(cls))


class Planet(enum.Enum):
    """As in the documentation of enum.

    Two lines of text, indented.
    """

    EARTH = (6.0, 2.0)
    MARS = (0.5, 1.0)

    def __init__(self, mass, radius):
        self.mass = mass
        self.radius = radius

    @property
    def gravity(self):
        return self.mass / self.radius**2


class Coordinate(bytes, enum.Enum):
    PX = (0, "P.X", "km")
    VY = (1, "V.Y", "km/s")

    def __new__(cls, value, label, unit):
        made = bytes.__new__(cls, [value])
        made._value_ = value
        made.label = label
        made.unit = unit
        return made


class Level(str, enum.Enum):
    LOW = "low"
    HIGH = "high"

    def shout(self):
        return self.upper() + "!"


class Size(enum.IntEnum):
    SMALL = enum.auto()
    LARGE = enum.auto()


class Right(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()
    EXECUTE = enum.auto()
    ALL = READ | WRITE | EXECUTE


class Bits(enum.IntFlag):
    ONE = 1
    FOUR = 4


class Lower(enum.Enum):
    def _generate_next_value_(name, start, count, last_values):
        return name.lower()

    NORTH = enum.auto()
    SOUTH = enum.auto()


def enums(color, table, chosen=Color.BLUE):
    planet = Planet.MARS
    seen = [color.mixed_with(chosen), color.next.name, Color.first().value, color is Color.RED, color is Color["CRIMSON"]]
    seen += [Color(1).name, [each.name for each in Color], sorted(Color.__members__), table[Color.GREEN]]
    seen += [planet.gravity, Planet((6.0, 2.0)).name, planet.radius, isinstance(color, Color), len(Color)]
    seen += [Coordinate.VY.label, Coordinate(0).unit, Coordinate.VY == b"\x01", Level("low").shout(), Level.HIGH == "high"]
    seen += [Size.LARGE + 1, Size(1).name, max(Size).name, Lower.NORTH.value, Lower("south").name]
    return seen, Color.GREEN, [Planet.EARTH, Level.LOW, Size.LARGE, Coordinate.PX, Lower.SOUTH]


def enums_back(result):
    seen, color, (planet, level, size, coordinate, lower) = result
    here = [color is Color.GREEN, planet is Planet.EARTH, level is Level.LOW, size is Size.LARGE, lower is Lower.SOUTH]
    return [*seen, here, coordinate is Coordinate.PX]


def flags(right):
    seen = [Right.READ in right, Right.EXECUTE in right, (right | Right.EXECUTE) is Right.ALL, (~right).name, bool(right)]
    seen += [(Right.ALL & right).value, (Right.ALL ^ right) is Right.EXECUTE, int(Bits.ONE | Bits.FOUR), Bits(5) & 4]
    return seen, Right.READ | Right.EXECUTE, Right.ALL, Bits.ONE | Bits.FOUR


def flags_back(result):
    seen, some, every, bits = result
    return [*seen, some == Right.READ | Right.EXECUTE, type(some) is Right, every is Right.ALL, type(bits) is Bits, bits + 0]


# Data classes


def new_list():
    return ["made"]


@dataclass
class Thing:
    """A thing, with text of
    more than one line."""

    name: str
    size: int = 2
    tags: list = field(default_factory=new_list)
    kind: typing.ClassVar[str] = "thing"
    scale: dataclasses.InitVar[int] = 1

    def __post_init__(self, scale):
        self.scaled = self.size * scale

    def grown(self, by=1):
        return dataclasses.replace(self, size=self.size + by, scale=1)


@dataclass
class Wheeled(Thing):
    wheels: int = field(default=4, metadata={"unit": "piece"})

    def described(self):
        return f"{super().grown(3).size} {self.name!r} on {self.wheels}"


@dataclass(frozen=True, order=True)
class Version:
    major: int
    minor: int = 0
    note: str = field(default="", compare=False, repr=False)

    def bumped(self):
        return Version(self.major, self.minor + 1)


@dataclass(frozen=True)
class Tagged(Version):
    tag: str = "t"


@dataclass(slots=True, kw_only=True)
class Slotted:
    left: int
    right: Color = Color.RED

    def total(self):
        return self.left + self.right.value


@dataclass(slots=True, frozen=True)
class Point:
    x: int
    y: int = 5


@dataclass(eq=False, repr=False)
class Node:
    value: int
    below: "typing.Optional[Node]" = None
    _: dataclasses.KW_ONLY
    label: str = "leaf"

    def depth(self):
        return 1 + (self.below.depth() if self.below else 0)

    def __repr__(self):
        return f"<{self.label} {self.value}>"


def attempt(function, *args):
    try:
        return function(*args)
    except Exception as error:
        return type(error).__name__


def dataclass_one(thing, version):
    wheeled = Wheeled("car", scale=3)
    seen = [repr(thing), thing == Thing("box", 7), Thing("a").tags is Thing("a").tags, thing.grown().size, thing.scaled]
    seen += [[each.name for each in dataclasses.fields(Wheeled)], repr(wheeled), wheeled.scaled, wheeled.described()]
    seen += [dataclasses.asdict(thing), dataclasses.fields(Wheeled)[3].metadata["unit"], Thing.kind, Thing.__match_args__]
    seen += [version < version.bumped(), sorted([Version(2), Version(1, 5)])[0].minor, hash(version) == hash(Version(1, 2))]
    seen += [attempt(setattr, version, "major", 3), repr(Version(3, note="hidden")), len({version, Version(1, 2, "x")})]
    seen += [repr(Tagged(1)), attempt(setattr, Tagged(1), "tag", "u"), attempt(hash, thing), Thing.__doc__.count("\n")]
    seen += [attempt(delattr, version, "major"), attempt(Thing), attempt(lambda: version < thing)]
    return seen, Thing("back", tags=[1]), Version(9).bumped(), wheeled


def dataclass_one_back(result):
    seen, thing, version, wheeled = result
    here = [type(thing) is Thing, thing == Thing("back", tags=[1]), type(version) is Version, version == Version(9, 1)]
    return [*seen, *here, type(wheeled) is Wheeled, isinstance(wheeled, Thing), wheeled.described()]


def dataclass_two(slotted, point, node):
    seen = [slotted.total(), repr(slotted), attempt(setattr, slotted, "other", 1), attempt(Slotted, 1), hasattr(point, "__dict__")]
    seen += [repr(point), point == Point(1), attempt(setattr, point, "x", 1), dataclasses.astuple(point), hash(point) == hash(Point(1))]
    seen += [node.depth(), repr(node), node == Node(1), Node(5, label="k").label, attempt(Node, 1, None, "k"), Slotted.__slots__]
    match point:
        case Point(x, y):
            seen.append([x, y])
    return seen, Slotted(left=3, right=Color.BLUE), Point(4), Node(1, Node(2))


def dataclass_two_back(result):
    seen, slotted, point, node = result
    here = [type(slotted) is Slotted, slotted.right is Color.BLUE, point == Point(4), type(point) is Point, node.depth()]
    return [*seen, *here, type(node.below) is Node]


# Named tuples, typed dictionaries, generic classes


class Pair(typing.NamedTuple):
    """Two."""

    first: int
    second: str = "two"

    def joined(self):
        return f"{self.first}-{self.second}"


Row = collections.namedtuple("Row", "a b c", defaults=[7])


class Wide(collections.namedtuple("Narrow", ["w"])):
    __slots__ = ()

    def doubled(self):
        return self._replace(w=self.w * 2)


class Movie(typing.TypedDict, total=False):
    title: str
    year: int


def named_tuples(pair, row):
    seen = [pair.joined(), repr(pair), pair._asdict(), pair._fields, Pair(3).second, repr(row), row._replace(a=0), Row._make("xyz").b]
    seen += [Row(1, 2).c, Row._field_defaults, repr(Wide(4).doubled()), isinstance(pair, tuple), attempt(Pair), Pair.__doc__]
    first, _ = pair
    movie: Movie = Movie(title="it", year=first)
    seen += [movie, Movie.__total__, sorted(Movie.__annotations__), Row.a.__doc__, list(Pair.__annotations__)]
    return seen, Pair(8), Row(1, 2, 3), Wide(1), movie


def named_tuples_back(result):
    seen, pair, row, wide, movie = result
    here = [type(pair) is Pair, pair == (8, "two"), type(row) is Row, row.c, type(wide) is Wide, wide.doubled().w]
    return [*seen, *here, movie]


T = typing.TypeVar("T")
B = typing.TypeVar("B", bound=Thing)
P = typing.ParamSpec("P")
UserId = typing.NewType("UserId", int)


class Stack(typing.Generic[T]):
    def __init__(self, *items: T) -> None:
        self.items: list[T] = list(items)

    def pop(self) -> T:
        return self.items.pop()


class Numbers(Stack[int]):
    def total(self) -> int:
        return sum(self.items)


def logged(function: typing.Callable[P, T]) -> typing.Callable[P, T]:
    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return inner


@logged
def identity(value: T, user: UserId = UserId(5)) -> tuple:
    return value, user


def generics(stack):
    seen = [stack.pop(), Numbers(1, 2).total(), Stack[int](4).pop(), typing.get_args(Numbers.__orig_bases__[0])[0] is int]
    seen += [identity(1), identity.__name__, Stack.__parameters__ == (T,), B.__bound__ is Thing, str(T), UserId(3)]
    return seen, Numbers(5), T, identity


def generics_back(result):
    seen, numbers, variable, function = result
    return [*seen, type(numbers) is Numbers, numbers.total(), variable is T, function is identity]


# Abstract classes, protocols, metaclasses, hooks


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...

    @classmethod
    def __subclasshook__(cls, other):
        return NotImplemented


class Square(Shape):
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side**2


class Disguised:
    def area(self):
        return 0


Shape.register(Disguised)


@typing.runtime_checkable
class HasArea(typing.Protocol):
    size: int

    def area(self) -> float: ...


@typing.runtime_checkable
class Callback(typing.Protocol):
    def area(self) -> float: ...

    def twice(self) -> float:
        return 2 * self.area()


class Explicit(Callback):
    def __init__(self, n):
        self.n = n

    def area(self) -> float:
        return self.n


class Sized:
    size = 3

    def area(self):
        return 9


def abstract(square):
    seen = [attempt(Shape), square.area(), isinstance(Disguised(), Shape), isinstance(3, Shape), issubclass(Square, Shape)]
    seen += [isinstance(Sized(), HasArea), isinstance(Disguised(), HasArea), isinstance(Disguised(), Callback)]
    seen += [isinstance(5, Callback), attempt(Callback), Explicit(4).twice(), isinstance(Explicit(1), Callback), issubclass(Sized, Callback)]
    seen += [sorted(Shape.__abstractmethods__)]
    return seen, Square(5), Explicit(6)


def abstract_back(result):
    seen, square, explicit = result
    return [*seen, type(square) is Square, isinstance(square, Shape), type(explicit) is Explicit, explicit.twice()]


REGISTRY = {}


class Meta(type):
    def __new__(mcs, name, bases, names, *, key=""):
        made = super().__new__(mcs, name, bases, {**names, "key": key or name.lower()})
        REGISTRY[made.key] = made
        return made

    def __init__(cls, name, bases, names, **options):
        super().__init__(name, bases, names)

    def __len__(cls):
        return len(cls.key)

    def __contains__(cls, text):
        return text in cls.key


class Made(metaclass=Meta):
    def who(self):
        return REGISTRY[self.key].__name__


class Other(Made, key="special"):
    pass


class Plugin:
    known = []
    level = 0

    def __init_subclass__(cls, /, level=1, **options):
        super().__init_subclass__(**options)
        cls.level = level
        Plugin.known.append(cls)


class Low(Plugin):
    pass


class High(Plugin, level=9):
    def rank(self):
        return sorted((each.level, each.__name__) for each in self.known)


def metaclasses(other):
    seen = [type(other).key, len(Other), "spec" in Other, other.who(), sorted(REGISTRY), type(Other) is Meta]
    seen += [REGISTRY["special"] is type(other), High().rank(), Plugin.known == [Low, High], Low.level]

    class Late(Made, key="late"):
        pass

    class Later(Plugin, level=4):
        pass

    seen += [Late().who(), sorted(REGISTRY), High().rank(), Later.level]
    del REGISTRY["late"]
    Plugin.known.remove(Later)
    return seen, Other(), High()


def metaclasses_back(result):
    seen, other, high = result
    return [*seen, type(other) is Other, type(high) is High, high.rank(), sorted(REGISTRY)]


# Classes that refer to each other


class Singleton:
    instance = None

    def __init__(self, value):
        self.value = value

    @classmethod
    def get(cls):
        return cls.instance


Singleton.instance = Singleton(11)
Singleton.later = lambda self: self.value + Outer.BASE


class Outer:
    BASE = 100

    class Inner:
        class Deepest:
            def outer(self):
                return Outer().value() + Outer.Inner.factor

        factor = 3

        def made(self):
            return Outer(), self.Deepest()

    def value(self):
        return self.BASE + self.Inner.factor

    def inner(self):
        return self.Inner()


class Egg:
    def hatch(self):
        return Hen()

    def is_of(self, other):
        return isinstance(other, Hen)


class Hen:
    def lay(self):
        return Egg()

    def is_of(self, other):
        return isinstance(other, Egg)


def is_even(n):
    return n == 0 or is_odd(n - 1)


def is_odd(n):
    return n != 0 and is_even(n - 1)


def mutual(single, inner):
    outer, deepest = inner.made()
    seen = [single.get().value, single.get() is Singleton.instance, single.later(), deepest.outer(), outer.value()]
    seen += [type(outer.inner()) is Outer.Inner, isinstance(inner, Outer.Inner), Egg().hatch().lay().is_of(Hen())]
    seen += [Hen().is_of(Egg().hatch().lay()), is_even(10), is_odd(10), type(Egg().hatch()) is Hen]
    return seen, deepest, Hen().lay(), single


def mutual_back(result):
    seen, deepest, egg, single = result
    here = [type(deepest) is Outer.Inner.Deepest, type(egg) is Egg, type(single) is Singleton, single.value]
    return [*seen, *here, deepest.outer()]


# Decorators and functools

CALLS = []


def counted(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        wrapper.calls += 1
        return function(*args, **kwargs)

    wrapper.calls = 0
    return wrapper


def times(factor, *, label="x"):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return f"{label}{factor * function(*args, **kwargs)}"

        return wrapper

    return decorate


def with_report(cls):
    cls.report = lambda self: f"{type(self).__name__}:{self.value}"
    cls.names = [*getattr(cls, "names", []), cls.__name__]
    return cls


class Memo:
    """A decorator that is a class."""

    def __init__(self, function):
        functools.update_wrapper(self, function)
        self.function = function
        self.memory = {}

    def __call__(self, *args):
        if args not in self.memory:
            self.memory[args] = self.function(*args)
        return self.memory[args]


@counted
@times(3, label="<")
def decorated(a, b=1):
    """Its text."""
    return a + b


@with_report
class Reported:
    value = 5


@functools.total_ordering
@with_report
class Ordered:
    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return self.value == other.value

    def __lt__(self, other):
        return self.value < other.value


@Memo
def remembered(n):
    return n * 2


def decorators(function):
    seen = [function(1), function(2, b=5), function.calls, function.__name__, function.__doc__, function.__wrapped__.__wrapped__(1)]
    seen += [Reported().report(), Reported.names, Ordered(1) <= Ordered(2), Ordered(3) >= Ordered(2), Ordered(7).report()]
    seen += [remembered(4), remembered(4), remembered.memory, remembered.__name__]
    function.calls = 0
    remembered.memory.clear()
    return seen, Ordered(2), times


def decorators_back(result):
    seen, ordered, make = result
    return [*seen, type(ordered) is Ordered, ordered > Ordered(1), make is times]


@functools.lru_cache(maxsize=8)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@functools.cache
def squared(n):
    return n * n


@functools.singledispatch
def kind_of(value):
    return "other"


@kind_of.register
def _(value: int):
    return f"int {value}"


@kind_of.register(list)
def of_list(value):
    return [kind_of(each) for each in value]


@kind_of.register(Thing)
def _(value):
    return f"thing {value.name}"


def power(base, exponent=2, *, plus=0):
    return base**exponent + plus


cube = functools.partial(power, exponent=3)


class Lazy:
    def __init__(self, n):
        self.n = n
        self.made = 0

    @functools.cached_property
    def value(self):
        """Made once."""
        self.made += 1
        return self.n * 10

    @functools.singledispatchmethod
    def take(self, value):
        return "any"

    @take.register
    def _(self, value: str):
        return f"str {value} {self.n}"

    def add(self, a, b):
        return self.n + a + b

    add_two = functools.partialmethod(add, 2)
    again = functools.lru_cache(4)(add)


def functional(cubed, lazy):
    seen = [fibonacci(20), fibonacci.cache_parameters()["maxsize"], squared(5), kind_of([1, "a", Thing("t")]), cubed(2), cube(2, plus=1)]
    seen += [lazy.value, lazy.value, lazy.made, lazy.take("s"), lazy.take(1), lazy.add_two(3), lazy.again(1, 1), Lazy.value.__doc__]
    seen += [functools.partial(cubed, plus=5)(2), kind_of.dispatch(bool)(True), type(lazy).value.attrname]
    return seen, functools.partial(power, 3), Lazy(7), fibonacci, lazy.add


def functional_back(result):
    seen, part, lazy, function, method = result
    return [*seen, part(), part.func is power, type(lazy) is Lazy, lazy.value, function is fibonacci, method(1, 1)]


# Functions


def make_counter(start):
    count = start

    def up(by=1):
        nonlocal count
        count += by
        return count

    def value():
        return count

    return up, value


class Account:
    __rate = 3

    def __init__(self, amount):
        self.__amount = amount

    def __grown(self):
        return self.__amount * self.__rate

    def value(self):
        return [each for each in (self.__grown(), Account.__rate)]

    @staticmethod
    def unit(n=Color.GREEN):
        return f"{n.value} Eur"

    @classmethod
    def of(cls, *amounts):
        return cls(sum(amounts))

    @property
    def amount(self):
        return self.__amount

    @amount.setter
    def amount(self, value):
        self.__amount = value

    amount_of = staticmethod(lambda account: account.amount)


default_thing = Thing("default", 1)
add_one = lambda x: x + 1  # noqa: E731
pick = {"first": lambda pair: pair[0], "second": lambda pair: pair[1]}["second"]  # noqa: E501


def with_defaults(a=default_thing, b=Version(1), *, c=Color.RED, d=add_one, e=(Size.SMALL, {"k": Pair(1)})):
    return [a.name, a is default_thing, b.bumped().minor, c.name, d(1), e[0].name, e[1]["k"].joined()]


def closures(up, value, account):
    seen = [up(), up(5), value(), account.value(), account.unit(), Account.of(1, 2).amount, Account.amount_of(account)]
    account.amount = 4
    seen += [account.amount, with_defaults(), add_one(1), [(lambda n, k=k: n * k)(2) for k in range(3)]]
    up, value = make_counter(5)
    up()
    inner = make_counter(1)
    return seen, (up, value), Account(6), inner[0], pick


def closures_back(result):
    seen, (up, value), account, function, choose = result
    return [*seen, up(), value(), type(account) is Account, account.value(), function(1), function(1), choose("ab")]


async def waited(n):
    await asyncio.sleep(0)
    return n + 1


async def counted_to(n):
    for each in range(n):
        yield await waited(each)


def numbers(n):
    got = yield n
    while got:
        got = yield got * 2
    yield from range(2)
    return


async def gather(n):
    return [each async for each in counted_to(n)], await asyncio.gather(waited(1), waited(2))


class Context:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return error[0] is KeyError

    async def __aenter__(self):
        return "async"

    async def __aexit__(self, *error):
        return None


async def with_context():
    async with Context() as word:
        return word


def language(command, names):
    generator = numbers(3)
    seen = [next(generator), generator.send(4), generator.send(None), next(generator), asyncio.run(gather(3))]
    match command:
        case {"do": str(word), **rest} if len(rest) == 1:
            seen.append([word, rest])
    match Thing("m", 3):
        case Thing(name="m", size=(2 | 3) as size):
            seen.append(size)
    match [Color.RED, 1, 2]:
        case [Color.RED, *others]:
            seen.append(others)
    if (length := len(names)) > 1:
        seen.append([f"{names['a']} it's \"{length:>{3}}\" {names['b']!r:>5} {{}} {'x' * 2}", length])
    with Context():
        raise KeyError("gone")
    value = """a
        b"""
    seen += [value, asyncio.run(with_context()), {**names, "c": [*"ab"]}, [y := 3, y**2], {x: y for x, y in names.items() if (z := x)}]
    seen += [sorted({n % 3 for n in range(7)} & {1, 2}), 1_000 if not names else -1.5e3, b"\x00\xff" == bytes([0, 255]), 0 < length < 3]
    try:
        assert length == 3, "not three"
    except (AssertionError, ValueError) as error:
        seen.append(str(error))
    finally:
        seen.append("finally")
    for _ in ():
        pass
    else:
        seen.append("else")
    del value
    return seen


def same(result):
    return result


# Modules of one's own


def own_modules(brick, bench):
    seen = [weigh(brick), plain_module.weigh(Brick(2)), plain_module.UNIT, Weight.HEAVY.name, brick.weight is Weight.LIGHT]
    seen += [tools.saw.cut("wood", 2), workshop.tools.saw.TEETH, nail_driver.hit(2), nail_driver.Hammer().hit()]
    seen += [workshop.tools.saw.Saw(3).hit(), isinstance(bench, workshop.Bench), plain_module.Wall([brick]).total()]
    return seen, Brick(5), Weight.HEAVY, workshop.tools.saw.Saw(1), Bench("b")


def own_modules_back(result):
    seen, brick, weight, saw, bench = result
    here = [type(brick) is Brick, weight is plain_module.Weight.HEAVY, type(saw) is tools.saw.Saw, type(bench) is Bench]
    return [*seen, *here, brick == Brick(5), saw.halves()]


def inner_imports(bench, saw):
    from workshop.tools.saw import cut

    return [bench.use(3), cut("wood", 3), saw.halves()], bench


def inner_imports_back(result):
    seen, bench = result
    return [*seen, type(bench) is Bench, bench.name]


def of_function(n):
    """Classes and functions that are made while it runs."""

    @dataclass(order=True)
    class Local:
        a: int = n
        b: list = field(default_factory=lambda: [n])

    class Kind(enum.Enum):
        A = n
        B = n + 1

    class Two(typing.NamedTuple):
        x: int
        y: int = n

    def helper():
        return Local(1), Kind.B, Two(1)

    return Local(), Kind.A, Two(3), helper


def local_classes(local, kind, two, helper):
    made, member, other = helper()
    seen = [repr(local), local > made, type(made) is type(local), kind.value, member is type(kind)(8), repr(two), two.y, other]
    return seen, local, kind, two


def local_classes_back(result):
    seen, local, kind, two = result
    return [*seen, type(local) is type(LOCAL[0]), kind is LOCAL[1], type(two) is type(LOCAL[2]), local == LOCAL[0]]


LOCAL = of_function(7)
#: Functions that run on the node, with their arguments, and what of their results is seen here.
WORK = {
    "enums": enums,
    "flags": flags,
    "dataclass one": dataclass_one,
    "dataclass two": dataclass_two,
    "named tuples": named_tuples,
    "generics": generics,
    "abstract": abstract,
    "metaclasses": metaclasses,
    "mutual": mutual,
    "decorators": decorators,
    "functional": functional,
    "closures": closures,
    "language": language,
    "own modules": own_modules,
    "local classes": local_classes,
    "inner imports": inner_imports,
}
LOOK = {
    "enums": enums_back,
    "flags": flags_back,
    "dataclass one": dataclass_one_back,
    "dataclass two": dataclass_two_back,
    "named tuples": named_tuples_back,
    "generics": generics_back,
    "abstract": abstract_back,
    "metaclasses": metaclasses_back,
    "mutual": mutual_back,
    "decorators": decorators_back,
    "functional": functional_back,
    "closures": closures_back,
    "language": same,
    "own modules": own_modules_back,
    "local classes": local_classes_back,
    "inner imports": inner_imports_back,
}
#: Modules that code imports while it runs go along with a computation only.
OF_FILES = ("inner imports",)


def arguments():
    """New ones each time, for each topic."""
    return {
        "enums": (Color.RED, {Color.GREEN: "leaf"}),
        "flags": (Right.READ | Right.WRITE,),
        "dataclass one": (Thing("box", 7), Version(1, 2)),
        "dataclass two": (Slotted(left=4), Point(1), Node(1, Node(2, Node(3)), label="root")),
        "named tuples": (Pair(1), Row(1, 2)),
        "generics": (Stack("a", "b"),),
        "abstract": (Square(3),),
        "metaclasses": (Other(),),
        "mutual": (Singleton.instance, Outer().inner()),
        "decorators": (decorated,),
        "functional": (cube, Lazy(4)),
        "closures": (*make_counter(10), Account(7)),
        "language": ({"do": "go", "at": 1}, {"a": 1, "b": "q"}),
        "own modules": (Brick(1), Bench("work")),
        "local classes": LOCAL,
        "inner imports": (Bench("inside"), workshop.tools.saw.Saw(2)),
    }


def compute(topic, *args):
    return WORK[topic](*args)


def call(function, *args):
    return function(*args)


def report(way, topic, job):
    result = job()
    seen = job.exception if job.status != gdispy.DispyJob.Finished else LOOK[topic](result)
    print(json.dumps([way, topic, seen], default=str))


if __name__ == "__main__":
    nodes = [sys.argv[1]]
    with gdispy.JobCluster(compute, nodes=nodes) as cluster, gdispy.JobCluster(call, nodes=nodes) as other:
        named = {topic: cluster.submit(topic, *args) for topic, args in arguments().items()}
        # Each after the other: what one has made is there for the next.
        given = {topic: other.submit(WORK[topic], *args) for topic, args in arguments().items() if topic not in OF_FILES}
        for topic in WORK:
            report("computation", topic, named[topic])
        for topic in given:
            report("argument", topic, given[topic])
