"""What a program defines, computed on a node that may run another version of Python.

    python program.py HOST:PORT

A topic is a function, its arguments, and what of its result is seen here. It runs twice: as part of the computation, and
as a mere argument, so that the node learns of its definitions from that alone. For each topic one line of JSON is
printed: how it ran, its name, and what was seen, or the error.
"""
# It is written in the many ways in which programs are.
# ruff: noqa

import asyncio
import enum
import functools
import json
import sys
import typing
from dataclasses import dataclass, field

import data
import gdispy
import kinds_of_classes
import odds_and_ends
import plain_module
import workshop.tools.saw
from data import Color, Pair, Size, Thing, Version
from plain_module import Brick, Weight, weigh
from workshop import Bench, tools
from workshop.tools import hammer as nail_driver

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
    seen = [
        function(1),
        function(2, b=5),
        function.calls,
        function.__name__,
        function.__doc__,
        function.__wrapped__.__wrapped__(1),
    ]
    seen += [
        Reported().report(),
        Reported.names,
        Ordered(1) <= Ordered(2),
        Ordered(3) >= Ordered(2),
        Ordered(7).report(),
    ]
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
    seen = [
        fibonacci(20),
        fibonacci.cache_parameters()["maxsize"],
        squared(5),
        kind_of([1, "a", Thing("t")]),
        cubed(2),
        cube(2, plus=1),
    ]
    seen += [
        lazy.value,
        lazy.value,
        lazy.made,
        lazy.take("s"),
        lazy.take(1),
        lazy.add_two(3),
        lazy.again(1, 1),
        Lazy.value.__doc__,
    ]
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
add_one = lambda x: x + 1
pick = {"first": lambda pair: pair[0], "second": lambda pair: pair[1]}["second"]


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
        seen.append([f'{names["a"]} it\'s "{length:>{3}}" {names["b"]!r:>5} {{}} {"x" * 2}', length])
    with Context():
        raise KeyError("gone")
    value = """a
        b"""
    seen += [
        value,
        asyncio.run(with_context()),
        {**names, "c": [*"ab"]},
        [y := 3, y**2],
        {x: y for x, y in names.items() if (z := x)},
    ]
    seen += [
        sorted({n % 3 for n in range(7)} & {1, 2}),
        1_000 if not names else -1.5e3,
        b"\x00\xff" == bytes([0, 255]),
        0 < length < 3,
    ]
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
    seen = [
        weigh(brick),
        plain_module.weigh(Brick(2)),
        plain_module.UNIT,
        Weight.HEAVY.name,
        brick.weight is Weight.LIGHT,
    ]
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
    seen = [
        repr(local),
        local > made,
        type(made) is type(local),
        kind.value,
        member is type(kind)(8),
        repr(two),
        two.y,
        other,
    ]
    return seen, local, kind, two


def local_classes_back(result):
    seen, local, kind, two = result
    return [*seen, type(local) is type(LOCAL[0]), kind is LOCAL[1], type(two) is type(LOCAL[2]), local == LOCAL[0]]


LOCAL = of_function(7)
TOPICS = {
    **data.TOPICS,
    **kinds_of_classes.TOPICS,
    **odds_and_ends.TOPICS,
    "decorators": (decorators, lambda: (decorated,), decorators_back),
    "functional": (functional, lambda: (cube, Lazy(4)), functional_back),
    "closures": (closures, lambda: (*make_counter(10), Account(7)), closures_back),
    "language": (language, lambda: ({"do": "go", "at": 1}, {"a": 1, "b": "q"}), same),
    "own modules": (own_modules, lambda: (Brick(1), Bench("work")), own_modules_back),
    "local classes": (local_classes, lambda: LOCAL, local_classes_back),
    "inner imports": (inner_imports, lambda: (Bench("inside"), workshop.tools.saw.Saw(2)), inner_imports_back),
}
WORK = {topic: work for topic, (work, _, _) in TOPICS.items()}
#: Modules that code imports while it runs, and the texts of whole classes, go along with a computation only.
WITH_COMPUTATION = ("inner imports", "executed")


def compute(topic, *args):
    return WORK[topic](*args)


def call(function, *args):
    return function(*args)


def report(way, topic, job):
    result = job()
    look = TOPICS[topic][2]
    seen = look(result) if job.status == gdispy.DispyJob.Finished else job.exception
    print(json.dumps([way, topic, seen], default=str))


if __name__ == "__main__":
    nodes = [sys.argv[1]]
    with gdispy.JobCluster(compute, nodes=nodes) as cluster, gdispy.JobCluster(call, nodes=nodes) as other:
        named = {topic: cluster.submit(topic, *arguments()) for topic, (_, arguments, _) in TOPICS.items()}
        given = {
            topic: other.submit(work, *arguments())
            for topic, (work, arguments, _) in TOPICS.items()
            if topic not in WITH_COMPUTATION
        }
        for topic, job in named.items():
            report("computation", topic, job)
        for topic, job in given.items():
            report("argument", topic, job)
