"""Classes that programs define, in small pieces: see tests/integration/test_what_travels.py."""

from __future__ import annotations

from tests.support.travel_cases import case

# Enums

case(
    "enum",
    """
    class Mode(enum.Enum):
        FAST = "fast"
        SLOW = "slow"
        QUICK = "fast"
    GLOBAL = Mode.SLOW
    def as_argument(mode):
        return mode is Mode.FAST, mode is Mode.QUICK, Mode(mode.value) is mode, Mode[mode.name] is mode
    def as_default(n, mode=Mode.FAST): return mode.value, mode is Mode.FAST
    def as_global(): return GLOBAL is Mode.SLOW, isinstance(GLOBAL, Mode), [each.name for each in Mode], len(Mode)
    def as_result(mode): return mode
    def as_key(found): return found[Mode.SLOW], set(found) == {Mode.SLOW, Mode.FAST}
    """,
    """
    [run(as_argument, Mode.FAST), run(as_default, 1), run(as_default, 1, Mode.SLOW), run(as_global),
     run(as_result, Mode.SLOW) is Mode.SLOW, run(as_result, [Mode.QUICK])[0] is Mode.FAST, run(as_result, Mode) is Mode,
     run(as_key, {Mode.SLOW: 1, Mode.FAST: 2})]
    """,
    "[(True, True, True, True), ('fast', True), ('slow', False), (True, True, ['FAST', 'SLOW'], 2), True, True, True,"
    " (1, True)]",
)
case(
    "enum with __init__, methods and properties",
    """
    class Planet(enum.Enum):
        EARTH = (5.97, 6.37)
        MARS = (0.64, 3.39)
        def __init__(self, mass, radius):
            self.mass, self.radius = mass, radius
        @property
        def ratio(self): return round(self.mass / self.radius, 2)
        @classmethod
        def heaviest(cls): return max(cls, key=lambda each: each.mass)
        @staticmethod
        def unit(): return "kg"
        def __str__(self): return self.name.title()
    def work(planet): return planet.ratio, str(planet), Planet.heaviest() is Planet.EARTH, planet.unit(), planet
    """,
    "[run(work, Planet.MARS), run(work, Planet.MARS)[-1] is Planet.MARS]",
    "[(0.19, 'Mars', True, 'kg', <Planet.MARS: (0.64, 3.39)>), True]",
)
case(
    "enum with __new__",
    """
    class Coordinate(bytes, enum.Enum):
        def __new__(cls, value, label, unit):
            made = bytes.__new__(cls, [value])
            made._value_ = value
            made.label, made.unit = label, unit
            return made
        PX = (0, "P.X", "km")
        PY = (1, "P.Y", "m")
    def work(one): return one.label, one.unit, bytes(one), Coordinate(1) is Coordinate.PY, one is Coordinate.PY
    def back(): return list(Coordinate)
    """,
    "[run(work, Coordinate.PY), [x is y for x, y in zip(run(back), Coordinate)]]",
    r"[('P.Y', 'm', b'\x01', True, True), [True, True]]",
)
case(
    "enum with a mixin",
    """
    class Describing:
        def describe(self): return f"{self.name}={self.value}"
    class Color(Describing, str, enum.Enum):
        RED = "red"
        BLUE = "blue"
    class Size(int, enum.Enum):
        SMALL = 1
        LARGE = 2
    def work(color, size):
        return color.describe(), color == "red", color.upper(), size + 1, size < Size.LARGE, {size: 1}[1]
    def back(*given): return given
    """,
    """
    [run(work, Color.RED, Size.SMALL),
     [x is y for x, y in zip(run(back, Color.BLUE, Size.LARGE), (Color.BLUE, Size.LARGE))]]
    """,
    "[('RED=red', True, 'RED', 2, True, 1), [True, True]]",
)
case(
    "IntEnum and auto",
    """
    class Level(enum.IntEnum):
        LOW = enum.auto()
        HIGH = enum.auto()
    class Named(enum.Enum):
        def _generate_next_value_(name, start, count, last_values): return name.lower()
        NORTH = enum.auto()
        SOUTH = enum.auto()
    def work(level):
        return level + 1, sorted([Level.HIGH, level]), Level(2) is Level.HIGH, f"{level:d}", range(5)[level]
    def named(): return [each.value for each in Named], Named("north")
    """,
    "[run(work, Level.LOW), run(named), run(named)[1] is Named.NORTH]",
    "[(2, [<Level.LOW: 1>, <Level.HIGH: 2>], True, '1', 1), (['north', 'south'], <Named.NORTH: 'north'>), True]",
)
case(
    "Flag and IntFlag, and their combinations",
    """
    class Perm(enum.Flag):
        R = 4
        W = 2
        X = 1
        RW = R | W
    class Bits(enum.IntFlag):
        A = 1
        B = 2
    BOTH = Perm.R | Perm.X
    def work(perm, bits):
        return Perm.W in perm, perm is Perm.RW, BOTH is Perm.R | Perm.X, BOTH.value, bits | 4, bits & Bits.A
    def default(perm=Perm.R | Perm.W | Perm.X): return perm.value, ~Perm.R == Perm.W | Perm.X
    def back(): return Perm.R | Perm.X, Bits.A | Bits.B, Perm(0)
    """,
    """
    [[int(x) if isinstance(x, Bits) else x for x in run(work, Perm.R | Perm.W, Bits.A | Bits.B)], run(default),
     [x is y for x, y in zip(run(back), (BOTH, Bits.A | Bits.B, Perm(0)))]]
    """,
    "[[True, True, True, 5, 7, 1], (7, True), [True, True, True]]",
)
case(
    "enums made otherwise: by the functional form, within a class, within a function, with _missing_ and _ignore_",
    """
    Shape = enum.Enum("Shape", "ROUND SQUARE")
    class Machine:
        class State(enum.Enum):
            ON = 1
            OFF = 0
        def __init__(self): self.state = Machine.State.OFF
        def start(self):
            self.state = self.State.ON
            return self
    def make():
        class Local(enum.Enum):
            ONE = 1
            @classmethod
            def _missing_(cls, value): return cls.ONE
        return Local
    Local = make()
    class Period(enum.Enum):
        _ignore_ = ["Period", "i"]
        Period = vars()
        for i in range(3): Period[f"day_{i}"] = i
    def work(shape, machine):
        return shape is Shape.ROUND, machine.start(), Local(7) is Local.ONE, [p.name for p in Period]
    def back(): return Shape.SQUARE, Machine.State.ON, Local.ONE, Period.day_2
    """,
    """
    [run(work, Shape.ROUND, Machine())[::2], run(work, Shape.ROUND, Machine())[1].state is Machine.State.ON,
     [x is y for x, y in zip(run(back), (Shape.SQUARE, Machine.State.ON, Local.ONE, Period.day_2))]]
    """,
    "[(True, True), True, [True, True, True, True]]",
)

# Typing

case(
    "TypeVar, Generic, NewType and Protocol",
    """
    T = typing.TypeVar("T")
    N = typing.TypeVar("N", int, float)
    B = typing.TypeVar("B", bound="Box", covariant=True)
    UserId = typing.NewType("UserId", int)
    class Box(typing.Generic[T]):
        def __init__(self, value: T) -> None: self.value = value
        def map(self, function: "typing.Callable[[T], N]") -> "Box[N]": return Box(function(self.value))
    class IntBox(Box[int]): pass
    @typing.runtime_checkable
    class Opens(typing.Protocol):
        def open(self) -> int: ...
    class Door:
        def open(self): return 1
    def opened(box): return box.value, isinstance(box, Box), Box.__parameters__ == (T,), Box[int](3).map(str).value
    def kept(given):
        is_same = IntBox.__orig_bases__ == (Box[int],), typing.get_args(Box[T]) == (T,)
        return given is T, *is_same, N.__constraints__
    def user(n): return UserId(n), UserId.__name__, UserId.__supertype__
    def checked(): return isinstance(Door(), Opens), isinstance(3, Opens), B.__covariant__, B.__name__
    def back(): return T, UserId, Box(4)
    """,
    """
    [run(opened, Box(5)), run(opened, IntBox(6))[0], run(kept, T), run(user, 7), run(checked), run(back)[0] is T,
     run(back)[1] is UserId, type(run(back)[2]) is Box]
    """,
    "[(5, True, True, '3'), 6, (True, True, True, (<class 'int'>, <class 'float'>)), (7, 'UserId', <class 'int'>),"
    " (True, False, True, 'B'), True, True, True]",
)
case(
    "NamedTuple, namedtuple and TypedDict",
    """
    class Point(typing.NamedTuple):
        x: int
        y: int = 2
        def norm(self): return self.x ** 2 + self.y ** 2
        @classmethod
        def origin(cls): return cls(0, 0)
    Old = collections.namedtuple("Old", ["a", "b"], defaults=[Point(8, 9)])
    class Options(typing.TypedDict, total=False):
        name: str
    class Under(Point):
        def norm(self): return -super().norm()
    def work(point, old):
        return (point.norm(), isinstance(point, Point), point._replace(x=5), Point._fields, old.b.x,
                isinstance(old, Old), old._asdict()["a"], Options(name="a"), Point.origin() == (0, 0),
                Point.__annotations__, Point(1))
    def back(): return Point(1), Old(1), Under(3)
    """,
    "[run(work, Under(1), Old(1)), [type(each) for each in run(back)] == [Point, Old, Under], run(back)[2].norm()]",
    "[(-5, True, Under(x=5, y=2), ('x', 'y'), 8, True, 1, {'name': 'a'}, True,"
    " {'x': <class 'int'>, 'y': <class 'int'>}, Point(x=1, y=2)), True, -13]",
)
case(
    "dataclasses",
    """
    @dataclasses.dataclass
    class Base:
        a: int
        items: list = dataclasses.field(default_factory=list)
        kind: typing.ClassVar[list] = ["kind"]
        start: dataclasses.InitVar[int] = 5
        total: int = dataclasses.field(init=False, repr=False, metadata={"unit": "m"})
        def __post_init__(self, start): self.total = self.a + start
    @dataclasses.dataclass(order=True)
    class Under(Base):
        b: str = "b"
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Tight:
        x: int
        y: typing.Any = None
        def deeper(self): return Tight(x=self.x + 1, y=self)
    @dataclasses.dataclass(frozen=True)
    class Frozen:
        x: int
        _: dataclasses.KW_ONLY
        y: int = 0
    def fields(of):
        found = dataclasses.fields(of)
        return [f.name for f in found], [f.name for f in found if f.default is dataclasses.MISSING], found[-1].type
    def work(base, tight, frozen):
        try: frozen.x = 5
        except dataclasses.FrozenInstanceError: caught = True
        return (base.total, Base.kind, dataclasses.asdict(base), dataclasses.replace(base, a=9, start=1).total, caught,
                dataclasses.is_dataclass(Tight), tight.deeper().y == tight, hash(frozen) == hash(Frozen(1)),
                Under(1) < Under(2), hasattr(tight, "__dict__"), fields(Under), Base.__match_args__)
    def back(): return Under(3), Tight(x=1).deeper(), Frozen(2, y=3)
    """,
    """
    [run(work, Under(2), Tight(x=1), Frozen(1)), run(back),
     [type(each) for each in run(back)] == [Under, Tight, Frozen],
     run(back) == (Under(3), Tight(x=1).deeper(), Frozen(2, y=3)), fields(run(back)[0])]
    """,
    "[(7, ['kind'], {'a': 2, 'items': [], 'total': 7, 'b': 'b'}, 10, True, True, True, True, True, False,"
    " (['a', 'items', 'total', 'b'], ['a', 'items', 'total'], <class 'str'>), ('a', 'items', 'start')),"
    " (Under(a=3, items=[], b='b'), Tight(x=2, y=Tight(x=1, y=None)), Frozen(x=2, y=3)), True, True,"
    " (['a', 'items', 'total', 'b'], ['a', 'items', 'total'], <class 'str'>)]",
)
case(
    "models of pydantic",
    """
    import pydantic
    class Tag(pydantic.BaseModel):
        name: str
    class Item(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(frozen=True)
        name: str
        price: float = pydantic.Field(1.0, gt=0)
        tags: list[Tag] = []
        @pydantic.field_validator("name")
        @classmethod
        def upper(cls, value): return value.upper()
        @pydantic.computed_field
        @property
        def double(self) -> float: return 2 * self.price
    class Special(Item):
        extra: int = 0
    def work(item):
        try: Item(name="x", price=-1)
        except pydantic.ValidationError as error: count = error.error_count()
        made = Item.model_validate({"name": "y", "tags": [{"name": "t"}]})
        return item.double, isinstance(item, Item), count, made, item
    """,
    """
    [run(work, Special(name="a", extra=4)), type(run(work, Item(name="a"))[3].tags[0]) is Tag,
     run(work, Special(name="a"))[-1] == Special(name="a")]
    """,
    "[(2.0, True, 1, Item(name='Y', price=1.0, tags=[Tag(name='t')], double=2.0),"
    " Special(name='A', price=1.0, tags=[], extra=4, double=2.0)), True, True]",
)
case(
    "classes of attrs",
    """
    import attrs, attr
    @attrs.define
    class Base:
        x: int = attrs.field(converter=int, validator=attrs.validators.ge(0))
        more: list = attrs.Factory(list)
        def shown(self): return ["base", self.x]
    @attrs.define
    class Under(Base):
        y: str = "y"
        def shown(self): return [*super().shown(), __class__ is Under]
    @attrs.frozen(kw_only=True)
    class Frozen:
        z: Base
    @attr.s(auto_attribs=True)
    class Old:
        a: int = 1
    def work(under, frozen, old):
        try: Base(-1)
        except ValueError: refused = True
        names = [each.name for each in attrs.fields(Under)]
        return under.shown(), attrs.evolve(under, x="9").x, names, refused, frozen.z == Base(1), attr.asdict(old), under
    """,
    """
    [run(work, Under("2"), Frozen(z=Base(1)), Old()), type(run(work, Under(2), Frozen(z=Base(1)), Old())[-1]) is Under,
     run(work, Under(2), Frozen(z=Base(1)), Old())[-1] == Under(2)]
    """,
    "[(['base', 2, True], 9, ['x', 'more', 'y'], True, True, {'a': 1}, Under(x=2, more=[], y='y')), True, True]",
)

# Classes

case(
    "abstract classes, with registered ones",
    """
    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self): ...
        @property
        @abc.abstractmethod
        def name(self): ...
        @classmethod
        def __subclasshook__(cls, other): return True if other.__name__ == "Hooked" and cls is Shape else NotImplemented
    class Square(Shape):
        name = "square"
        def __init__(self, side): self.side = side
        def area(self): return self.side ** 2
    @Shape.register
    class Foreign: pass
    class Hooked: pass
    class Stack(collections.abc.Sequence):
        def __init__(self, *items): self.items = items
        def __getitem__(self, index): return self.items[index]
        def __len__(self): return len(self.items)
    def work(shape):
        try: Shape()
        except TypeError: refused = True
        return (shape.area(), isinstance(shape, Shape), isinstance(Foreign(), Shape), issubclass(Hooked, Shape),
                refused, isinstance(3, Shape), sorted(Shape.__abstractmethods__), list(reversed(Stack(1, 2))))
    def back(): return Square(2), Foreign(), Stack(1)
    """,
    "[run(work, Square(3)), [isinstance(each, Shape) for each in run(back)], type(run(back)[0]) is Square]",
    "[(9, True, True, True, True, False, ['area', 'name'], [2, 1]), [True, True, False], True]",
)
case(
    "a class that holds its own instance",
    """
    class Node:
        NIL = None
        def __init__(self, value, next=None): self.value, self.next = value, next or Node.NIL
    Node.NIL = Node(0)
    Node.NIL.next = Node.NIL
    class Single:
        _one = None
        def __new__(cls):
            cls._one = cls._one or super().__new__(cls)
            return cls._one
    Single().name = "the one"
    class Unit:
        def __init__(self, name): self.name = name
    Unit.METER = Unit("m")
    Unit.ALL = {"m": Unit.METER}
    def work(node, one, unit):
        return (node.next is Node.NIL, Node.NIL.next is Node.NIL, one is Single(), one.name, unit is Unit.METER,
                Unit.ALL["m"] is unit)
    def back(): return Single(), Node.NIL, Node(4)
    """,
    "[run(work, Node(3), Single(), Unit.METER)[:4], run(back)[0] is Single(), type(run(back)[2]) is Node]",
    "[(True, True, True, 'the one'), True, True]",
)
case(
    "a registry of subclasses, with keyword arguments",
    """
    class Animal:
        kinds, count = {}, 0
        def __init_subclass__(cls, *, sound, **options):
            super().__init_subclass__(**options)
            cls.sound = sound
            Animal.kinds[cls.__name__] = cls
            Animal.count += 1
    class Dog(Animal, sound="woof"): pass
    class Cat(Animal, sound="meow"): pass
    class Puppy(Dog, sound="yip"): pass
    def say(kind): return Animal.kinds[kind]().sound, Animal.count, sorted(Animal.kinds), Animal.kinds["Dog"] is Dog
    def more():
        class Cow(Animal, sound="moo"): pass
        return Animal.count, [each.__name__ for each in Animal.__subclasses__()]
    def back(): return Animal.kinds["Cat"](), Animal.kinds["Puppy"]
    """,
    """
    [run(say, "Puppy"), run(more)[0], sorted(run(more)[1]), type(run(back)[0]) is Cat, run(back)[1] is Puppy,
     Animal.count, sorted(Animal.kinds)]
    """,
    "[('yip', 3, ['Cat', 'Dog', 'Puppy'], True), 4, ['Cat', 'Cow', 'Dog'], True, True, 3, ['Cat', 'Dog', 'Puppy']]",
)
case(
    "a metaclass, with a required keyword",
    """
    class Meta(type):
        registry, made = {}, []
        @classmethod
        def __prepare__(meta, name, bases, *, mark): return collections.OrderedDict(prepared=mark)
        def __new__(meta, name, bases, space, *, mark):
            cls = super().__new__(meta, name, bases, dict(space))
            meta.registry[mark] = cls
            meta.made.append(name)
            return cls
        def __init__(cls, name, bases, space, *, mark):
            super().__init__(name, bases, space)
            cls.mark = mark
        def __call__(cls, *args):
            one = super().__call__(*args)
            one.called = True
            return one
        def __getitem__(cls, key): return [cls.__name__, key]
        def __len__(cls): return 7
    class Plug(metaclass=Meta, mark="p"):
        def __init__(self, n): self.n = n
    class Under(Plug, mark="u"): pass
    def work(one):
        made = Under(5)
        return (type(type(one)) is Meta, Meta.registry["p"] is Plug, Meta.made, one.mark, made.called, Plug[3],
                len(Under), Plug.prepared, made.n)
    def back(): return Under(1), Plug
    """,
    "[run(work, Plug(1)), type(run(back)[0]) is Under, run(back)[1] is Plug, Meta.made, Meta.registry['u'] is Under]",
    "[(True, True, ['Plug', 'Under'], 'p', True, ['Plug', 3], 7, 'p', 5), True, True, ['Plug', 'Under'], True]",
)
case(
    "nested classes that name the outer one",
    """
    class Tree:
        class Leaf:
            def tree(self): return Tree(self)
            class Vein:
                def up(self): return Tree.Leaf()
        class Error(Exception): pass
        def __init__(self, *leaves): self.leaves = leaves or (Tree.Leaf(),)
        def fail(self): raise Tree.Error("no")
        def grown(self): return Tree(*self.leaves, self.Leaf())
    def work(leaf):
        try: leaf.tree().fail()
        except Tree.Error as error: told = str(error)
        up = Tree.Leaf.Vein().up()
        grown = leaf.tree().grown()
        return type(leaf) is Tree.Leaf, type(up) is type(leaf), told, len(grown.leaves), Tree.Leaf.Vein.__qualname__
    def back(): return Tree().grown()
    """,
    "[run(work, Tree.Leaf()), type(run(back)) is Tree, [type(each) is Tree.Leaf for each in run(back).leaves]]",
    "[(True, True, 'no', 2, 'Tree.Leaf.Vein'), True, [True, True]]",
)
case(
    "classes that make each other",
    """
    class A:
        def make(self): return B(self)
        def __eq__(self, other): return isinstance(other, A)
        __hash__ = None
    class B:
        def __init__(self, made_by): self.made_by = made_by
        def make(self): return A()
    class C(A):
        def make(self): return D()
    class D(B):
        def __init__(self): super().__init__(C)
    def work(a):
        under = type(C().make()) is D, D().made_by is C, isinstance(C(), A)
        return isinstance(a.make(), B), a.make().make() == a, *under
    def both(a, b): return type(a.make()) is type(b), type(b.make()) is type(a)
    def back(): return A().make(), C()
    """,
    """
    [run(work, A()), run(both, A(), B(None)), type(run(back)[0]) is B, type(run(back)[0].made_by) is A,
     type(run(back)[1]) is C]
    """,
    "[(True, True, True, True, True), (True, True), True, True, True]",
)
case(
    "what classes are made of",
    """
    class Field:
        def __set_name__(self, owner, name): self.name, self.set = name, getattr(self, "set", 0) + 1
        def __get__(self, one, owner=None): return self if one is None else one.__dict__[self.name]
        def __set__(self, one, value): one.__dict__[self.name] = 2 * value
    class Left:
        def go(self): return ["left", *super().go()]
    class Right:
        def go(self): return ["right"]
    class Both(Left, Right):
        field = Field()
        __slots__ = ("slot",)
        def __init__(self, n): self.field = self.slot = n
        def __getattr__(self, name):
            if name.startswith("any_"): return name[4:]
            raise AttributeError(name)
        @property
        def value(self):
            "The value."
            return self.slot
        @value.setter
        def value(self, value): self.slot = value
        @value.deleter
        def value(self): self.slot = None
        @classmethod
        def of(cls, n): return cls(n).field
        @staticmethod
        def plain(n): return n + 1
        @functools.cached_property
        def lazy(self): return [self.slot]
        @functools.singledispatchmethod
        def show(self, arg): return "any"
        @show.register
        def _(self, arg: int): return "int"
        def __secret(self): return "secret"
        def shown(self): return self.__secret(), self.show(1), self.show("")
        later = functools.partialmethod(lambda self, a, b: [a, b, self.slot], 1)
        def __class_getitem__(cls, key): return [cls.__name__, key]
    def work(both):
        both.value = 8
        del both.value
        return (both.go(), both.field, both.value, Both.value.__doc__, both.of(2), both.plain(1),
                both.lazy is both.lazy, both.shown(), both.later(5), Both[3], both.any_thing, Both.field.set,
                [each.__name__ for each in Both.__mro__])
    """,
    "[run(work, Both(3))]",
    "[(['left', 'right'], 6, None, 'The value.', 4, 2, True, ('secret', 'int', 'any'), [1, 5, None], ['Both', 3],"
    " 'thing', 1, ['Both', 'Left', 'Right', 'object'])]",
)
case(
    "classes made in functions",
    """
    def make(k):
        class Local:
            made = 0
            def go(self):
                Local.made += 1
                return k + Local.made
        return Local
    One, Two = make(10), make(20)
    def work(one, two): return one.go(), two.go(), isinstance(one, One), isinstance(one, Two), type(one) is type(two)
    def same(a, b, kind): return type(a) is type(b) is kind is One
    def back(): return One(), Two
    Made = type("Made", (One,), {"extra": lambda self: self.go() + 1})
    def made(one): return one.extra(), isinstance(one, One), type(one) is Made
    """,
    """
    [run(work, One(), Two()), run(same, One(), One(), One), type(run(back)[0]) is One, run(back)[1] is Two,
     run(made, Made())]
    """,
    "[(11, 21, True, False, False), True, True, True, (12, True, True)]",
)
case(
    "weak references that classes keep",
    """
    class Kept:
        all, by_name = weakref.WeakSet(), weakref.WeakValueDictionary()
        def __init__(self, name):
            self.name = name
            Kept.all.add(self)
            Kept.by_name[name] = self
    ONE = Kept("one")
    def work():
        two = Kept("two")
        return ONE in Kept.all, Kept.by_name["one"] is ONE, len(Kept.all), Kept.by_name["two"] is two
    """,
    "[run(work)]",
    "[(True, True, 2, True)]",
)
case(
    "errors of the program",
    """
    class AppError(Exception):
        def __init__(self, code, why="no reason"):
            super().__init__(code, why)
            self.code = code
    class Worse(AppError): pass
    def work(n):
        try: raise Worse(n)
        except AppError as error: raise AppError(n + 1) from error
    def caught(): return isinstance(Worse(1), AppError), Worse(1)
    def cause(n):
        with cluster(work) as made:
            try: made.submit(n).result_or_raise()
            except gdispy.JobFailed as failed: return failed.__cause__
    """,
    "[type(cause(1)) is AppError, cause(1).code, run(caught)[0], type(run(caught)[1]) is Worse, run(caught)[1].code]",
    "[True, 2, True, True, 1]",
)
