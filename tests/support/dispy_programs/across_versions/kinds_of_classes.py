"""Topics, see program.py: abstract classes, protocols, metaclasses, classes that refer to each other."""
# It is written in the many ways in which programs are.
# ruff: noqa

import abc
import typing


def attempt(function, *args):
    try:
        return function(*args)
    except Exception as error:
        return type(error).__name__


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
    seen = [
        attempt(Shape),
        square.area(),
        isinstance(Disguised(), Shape),
        isinstance(3, Shape),
        issubclass(Square, Shape),
    ]
    seen += [isinstance(Sized(), HasArea), isinstance(Disguised(), HasArea), isinstance(Disguised(), Callback)]
    seen += [
        isinstance(5, Callback),
        attempt(Callback),
        Explicit(4).twice(),
        isinstance(Explicit(1), Callback),
        issubclass(Sized, Callback),
    ]
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


TOPICS = {
    "abstract": (abstract, lambda: (Square(3),), abstract_back),
    "metaclasses": (metaclasses, lambda: (Other(),), metaclasses_back),
    "mutual": (mutual, lambda: (Singleton.instance, Outer().inner()), mutual_back),
}
