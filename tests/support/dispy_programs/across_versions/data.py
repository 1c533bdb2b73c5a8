"""Topics, see program.py: enumerations, data classes, named tuples, generic classes."""
# It is written in the many ways in which programs are.
# ruff: noqa

import collections
import dataclasses
import enum
import functools
import typing
from dataclasses import dataclass, field

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
    seen = [
        color.mixed_with(chosen),
        color.next.name,
        Color.first().value,
        color is Color.RED,
        color is Color["CRIMSON"],
    ]
    seen += [Color(1).name, [each.name for each in Color], sorted(Color.__members__), table[Color.GREEN]]
    seen += [planet.gravity, Planet((6.0, 2.0)).name, planet.radius, isinstance(color, Color), len(Color)]
    seen += [
        Coordinate.VY.label,
        Coordinate(0).unit,
        Coordinate.VY == b"\x01",
        Level("low").shout(),
        Level.HIGH == "high",
    ]
    seen += [Size.LARGE + 1, Size(1).name, max(Size).name, Lower.NORTH.value, Lower("south").name]
    return seen, Color.GREEN, [Planet.EARTH, Level.LOW, Size.LARGE, Coordinate.PX, Lower.SOUTH]


def enums_back(result):
    seen, color, (planet, level, size, coordinate, lower) = result
    here = [color is Color.GREEN, planet is Planet.EARTH, level is Level.LOW, size is Size.LARGE, lower is Lower.SOUTH]
    return [*seen, here, coordinate is Coordinate.PX]


def flags(right):
    seen = [
        Right.READ in right,
        Right.EXECUTE in right,
        (right | Right.EXECUTE) is Right.ALL,
        (~right).name,
        bool(right),
    ]
    seen += [(Right.ALL & right).value, (Right.ALL ^ right) is Right.EXECUTE, int(Bits.ONE | Bits.FOUR), Bits(5) & 4]
    return seen, Right.READ | Right.EXECUTE, Right.ALL, Bits.ONE | Bits.FOUR


def flags_back(result):
    seen, some, every, bits = result
    return [
        *seen,
        some == Right.READ | Right.EXECUTE,
        type(some) is Right,
        every is Right.ALL,
        type(bits) is Bits,
        bits + 0,
    ]


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
    seen += [
        dataclasses.asdict(thing),
        dataclasses.fields(Wheeled)[3].metadata["unit"],
        Thing.kind,
        Thing.__match_args__,
    ]
    seen += [
        version < version.bumped(),
        sorted([Version(2), Version(1, 5)])[0].minor,
        hash(version) == hash(Version(1, 2)),
    ]
    seen += [attempt(setattr, version, "major", 3), repr(Version(3, note="hidden")), len({version, Version(1, 2, "x")})]
    seen += [repr(Tagged(1)), attempt(setattr, Tagged(1), "tag", "u"), attempt(hash, thing), Thing.__doc__.count("\n")]
    seen += [attempt(delattr, version, "major"), attempt(Thing), attempt(lambda: version < thing)]
    return seen, Thing("back", tags=[1]), Version(9).bumped(), wheeled


def dataclass_one_back(result):
    seen, thing, version, wheeled = result
    here = [type(thing) is Thing, thing == Thing("back", tags=[1]), type(version) is Version, version == Version(9, 1)]
    return [*seen, *here, type(wheeled) is Wheeled, isinstance(wheeled, Thing), wheeled.described()]


def dataclass_two(slotted, point, node):
    seen = [
        slotted.total(),
        repr(slotted),
        attempt(setattr, slotted, "other", 1),
        attempt(Slotted, 1),
        hasattr(point, "__dict__"),
    ]
    seen += [
        repr(point),
        point == Point(1),
        attempt(setattr, point, "x", 1),
        dataclasses.astuple(point),
        hash(point) == hash(Point(1)),
    ]
    seen += [
        node.depth(),
        repr(node),
        node == Node(1),
        Node(5, label="k").label,
        attempt(Node, 1, None, "k"),
        Slotted.__slots__,
    ]
    match point:
        case Point(x, y):
            seen.append([x, y])
    return seen, Slotted(left=3, right=Color.BLUE), Point(4), Node(1, Node(2))


def dataclass_two_back(result):
    seen, slotted, point, node = result
    here = [
        type(slotted) is Slotted,
        slotted.right is Color.BLUE,
        point == Point(4),
        type(point) is Point,
        node.depth(),
    ]
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
    seen = [
        pair.joined(),
        repr(pair),
        pair._asdict(),
        pair._fields,
        Pair(3).second,
        repr(row),
        row._replace(a=0),
        Row._make("xyz").b,
    ]
    seen += [
        Row(1, 2).c,
        Row._field_defaults,
        repr(Wide(4).doubled()),
        isinstance(pair, tuple),
        attempt(Pair),
        Pair.__doc__,
    ]
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
    seen = [
        stack.pop(),
        Numbers(1, 2).total(),
        Stack[int](4).pop(),
        typing.get_args(Numbers.__orig_bases__[0])[0] is int,
    ]
    seen += [identity(1), identity.__name__, Stack.__parameters__ == (T,), B.__bound__ is Thing, str(T), UserId(3)]
    return seen, Numbers(5), T, identity


def generics_back(result):
    seen, numbers, variable, function = result
    return [*seen, type(numbers) is Numbers, numbers.total(), variable is T, function is identity]


TOPICS = {
    "enums": (enums, lambda: (Color.RED, {Color.GREEN: "leaf"}), enums_back),
    "flags": (flags, lambda: (Right.READ | Right.WRITE,), flags_back),
    "dataclass one": (dataclass_one, lambda: (Thing("box", 7), Version(1, 2)), dataclass_one_back),
    "dataclass two": (
        dataclass_two,
        lambda: (Slotted(left=4), Point(1), Node(1, Node(2, Node(3)), label="root")),
        dataclass_two_back,
    ),
    "named tuples": (named_tuples, lambda: (Pair(1), Row(1, 2)), named_tuples_back),
    "generics": (generics, lambda: (Stack("a", "b"),), generics_back),
}
