"""Functions that programs define, and what has to do with several payloads, in small pieces: see
tests/integration/test_what_travels.py."""

from __future__ import annotations

from tests.support.travel_cases import case

# Functions

case(
    "cached functions",
    """
    @functools.cache
    def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
    @functools.lru_cache(maxsize=3)
    def least(n): return least(n - 1) if n else 0
    class Table:
        @functools.lru_cache
        def square(self, n): return n * n
        @staticmethod
        @functools.cache
        def cube(n): return n ** 3
    def work(n): return fib(n), fib.__wrapped__.__name__, least.cache_parameters(), Table().square(n), Table.cube(n)
    def told(function): return function is fib
    def info():
        fib(3)
        return fib.cache_info().misses
    """,
    """
    [run(fib, 10), run(least, 2), run(work, 10), run(told, fib), run(functools.partial(fib, 9)), run(Table.cube, 3),
     run(Table().square, 3), fib(4), run(info)]
    """,
    "[55, 0, (55, 'fib', {'maxsize': 3, 'typed': False}, 100, 1000), True, 34, 27, 9, 3, 4]",
)
case(
    "functions that call each other",
    """
    def even(n): return True if n == 0 else odd(n - 1)
    def odd(n): return False if n == 0 else even(n - 1)
    def parse(text): return add(list(text))
    def add(rest):
        value = atom(rest)
        while rest and rest[0] == "+":
            rest.pop(0)
            value += atom(rest)
        return value
    def atom(rest):
        if rest[0] == "(":
            rest.pop(0)
            value = add(rest)
            rest.pop(0)
            return value
        return int(rest.pop(0))
    class Walker:
        def walk(self, n): return [n] + (step(self, n - 1) if n else [])
    def step(walker, n): return walker.walk(n)
    def local(n):
        def up(n): return n if n > 5 else down(n + 2)
        def down(n): return up(n - 1)
        return up(n)
    def make():
        def ping(n): return pong(n - 1) if n else "ping"
        def pong(n): return ping(n - 1) if n else "pong"
        return ping, pong
    ping, pong = make()
    def same(pair): return pair[0] is even, pair[1] is odd
    """,
    """
    [run(even, 4), run(odd, 4), run(parse, "1+(2+3)"), run(step, Walker(), 2), run(Walker().walk, 1), run(local, 1),
     run(ping, 3), run(pong, 3), run(same, (even, odd))]
    """,
    "[True, False, 6, [2, 1, 0], [1, 0], 6, 'pong', 'ping', (True, True)]",
)
case(
    "a chain of fifty functions",
    """
    exec("\\n".join(f"def f{i}(n): return f{i + 1}(n + 1)" for i in range(50)))
    def f50(n): return n
    """,
    "[run(f0, 0)]",
    "[50]",
)
case(
    "singledispatch",
    """
    class Kind: pass
    class Under(Kind): pass
    @functools.singledispatch
    def show(value): return "any"
    @show.register(int)
    def _(value): return "int" + show("x")
    @show.register
    def of_kind(value: Kind): return "kind"
    @show.register(list)
    def _(value): return [show(each) for each in value]
    def work(value): return show([1, value, "x"]), show.registry[Kind] is of_kind, show.dispatch(Under) is of_kind
    """,
    "[run(show, 1), run(show, Under()), run(work, Kind()), run(show, [Kind(), 2])]",
    "['intany', 'kind', (['intany', 'kind', 'any'], True, True), ['kind', 'intany']]",
)
case(
    "partials, methods and objects as the computation",
    """
    class Scale:
        factor = 3
        def __init__(self, n): self.n = n
        def times(self, k): return self.n * k * self.factor
        @classmethod
        def make(cls, n): return cls(n).times(1), cls is Scale
        @staticmethod
        def plain(n): return n + 1
        def __call__(self, k): return self.times(k) + 1
    class Under(Scale):
        factor = 5
        def times(self, k): return super().times(k) + 1
        def again(self, n): return self if n == 0 else self.again(n - 1)
    def add(a, b, c=0): return a + b + c
    @functools.wraps(add)
    def wrapped(*args, **kwargs): return add(*args, **kwargs) + 100
    LAMBDA = lambda n: add(n, 1)
    """,
    """
    [run(functools.partial(add, 1, c=2), 3), run(functools.partial(functools.partial(Scale(2).times), 4)),
     run(Scale(2).times, 5), run(Under(2).times, 5), run(Under.make, 2), run(Scale.make, 2), run(Scale.plain, 2),
     run(Scale(2), 5), type(run(Scale, 4)) is Scale, run(Scale.times, Under(1), 1), run(Under(1).again, 3).n,
     type(run(Under(1).again, 3)) is Under, run(wrapped, 1, 2), run(LAMBDA, 1), run(lambda n: LAMBDA(n) + 1, 1)]
    """,
    "[6, 24, 30, 51, (11, False), (6, True), 3, 31, True, 15 - 12 + 13, 1, True, 103, 2, 3]".replace(
        "15 - 12 + 13", "5"
    ),
)
case(
    "a function that is also given as an argument",
    """
    def add(a, b): return a + b
    def twice(function):
        @functools.wraps(function)
        def inner(*args): return 2 * function(*args)
        return inner
    @twice
    def doubled(n): return n
    class Kind: pass
    plain = lambda: 1
    TABLE = {"add": add, "kind": Kind}
    def work(op, kind, decorated, small):
        of_table = TABLE["add"] is op, TABLE["kind"] is kind
        return op is add, kind is Kind, *of_table, decorated is doubled, small is plain, op(1, 2)
    def default(op=add): return op is add
    def back(): return add, Kind, doubled, TABLE["add"], plain
    def nested(given): return given["ops"][0] is add, isinstance(given["one"], Kind), given["type"] is Kind
    """,
    """
    [run(work, add, Kind, doubled, plain), run(default), run(default, add),
     [x is y for x, y in zip(run(back), (add, Kind))], run(back)[3] is add, run(back)[2](4),
     run(nested, {"ops": [add], "one": Kind(), "type": Kind})]
    """,
    "[(True, True, True, True, True, True, 3), True, True, [True, True], True, 8, (True, True, True)]",
)
case(
    "modules within packages",
    """
    import concurrent.futures, urllib.request, xml.dom.minidom
    import email.mime.text as text
    import importlib.metadata
    from xml.etree import ElementTree
    def pool(): return concurrent.futures.ThreadPoolExecutor.__name__
    def host(): return urllib.request.Request("http://x").host, urllib.parse.quote(" ")
    def tag(): return xml.dom.minidom.parseString("<b/>").documentElement.tagName
    class Uses:
        def go(self): return text.MIMEText("x").get_content_type(), ElementTree.fromstring("<a/>").tag
    def closed():
        import logging.handlers
        def inner(): return logging.handlers.MemoryHandler.__name__, importlib.metadata.version("gdispy") != ""
        return inner
    def module(given): return given.basename("a/b"), given is os.path
    """,
    """
    [run(pool), run(host), run(tag), run(Uses().go), run(closed()), run(module, os.path),
     run(lambda: os.path.join('a', 'b'))]
    """,
    "['ThreadPoolExecutor', ('x', '%20'), 'b', ('text/plain', 'a'), ('MemoryHandler', True), ('b', True), 'a/b']",
)
case(
    "locks and what holds them",
    """
    LOCK, RLOCK, READY, DONE = threading.Lock(), threading.RLock(), threading.Condition(), threading.Event()
    GATE, LINE = threading.Semaphore(2), queue.Queue()
    class Account:
        def __init__(self): self.lock, self.ready, self.sum = threading.RLock(), threading.Condition(), 1
        def add(self):
            with self.lock, self.lock, self.ready:
                self.ready.notify_all()
                self.sum += 1
                return self.sum
    class Lazy:
        lock = threading.RLock()
        @functools.cached_property
        def value(self):
            with self.lock: return 3
    def work():
        with LOCK, RLOCK, RLOCK, READY, GATE:
            READY.notify()
            DONE.set()
            LINE.put(DONE.wait(1))
        return LINE.get(timeout=1), LOCK.locked()
    def held():
        with RLOCK: return 1
    def guard(lock=threading.Lock()):
        def inner():
            with lock: return 2
        return inner
    def while_held(function, *args):
        with RLOCK, LOCK: return run(function, *args)
    """,
    """
    [run(work), run(held), run(Account().add), run(lambda account: account.add(), Account()),
     run(lambda lazy: lazy.value, Lazy()), run(guard()), while_held(work), while_held(held)]
    """,
    "[(True, False), 1, 2, 2, 3, 2, (True, False), 1]",
)
case(
    "closures, generators and what they share",
    """
    def counter():
        count = 0
        def up(n=1):
            nonlocal count
            count += n
            return count
        def look(): return count
        return up, look
    up, look = counter()
    up(5)
    def shared():
        up(2)
        return look()
    def numbers(n):
        yield from range(n)
    @contextlib.contextmanager
    def noted(into):
        into.append("begin")
        yield into
        into.append("end")
    def work(n):
        told = []
        with noted(told): told.extend(numbers(n))
        return told
    def make():
        def again(n): return n * again(n - 1) if n else 1
        return again
    def attributes():
        attributes.calls += 1
        return attributes.calls, attributes.__doc__
    attributes.calls = 3
    total = 0
    def rebinds(n):
        global total
        total += n
        return total, read()
    def read(): return total
    """,
    "[run(shared), look(), run(work, 2), run(make(), 4), run(attributes), run(rebinds, 4), total]",
    "[7, 5, ['begin', 0, 1, 'end'], 24, (4, None), (4, 4), 0]",
)
case(
    "globals of all kinds",
    """
    import datetime, decimal, numpy, operator, pathlib, struct
    logger = logging.getLogger("of the program")
    PATTERN, PATH, HEAD = re.compile(r"(\\d+)"), pathlib.Path("/a") / "b", struct.Struct(">I")
    GET, BOTH = operator.itemgetter(1), operator.attrgetter("real")
    WHEN, MONEY = datetime.timedelta(days=1), decimal.Decimal("1.10")
    VIEW, NAMESPACE = types.MappingProxyType({"a": 1}), types.SimpleNamespace(a=[1])
    NAMESPACE.itself = NAMESPACE
    ARRAY, TABLE, QUEUE = numpy.arange(4), collections.defaultdict(list, a=[1]), collections.deque([1], 3)
    NESTED = [NAMESPACE, {"again": NAMESPACE}]
    ELLIPSIS, NOTHING, RANGE, SLICE, COMPLEX = ..., NotImplemented, range(3), slice(1, 2), 1j
    def work():
        return (logger.name, PATTERN.findall("a1b22"), str(PATH), HEAD.size, GET([1, 2]), BOTH(3), WHEN.days, MONEY + 1,
                VIEW["a"], NAMESPACE.itself is NAMESPACE, NESTED[0] is NESTED[1]["again"], int(ARRAY.sum()), TABLE["b"],
                QUEUE.maxlen, ELLIPSIS is ..., NOTHING is NotImplemented, RANGE[SLICE], COMPLEX, int(numpy.add(1, 2)))
    """,
    "[run(work)]",
    "[('of the program', ['1', '22'], '/a/b', 4, 2, 3, 1, Decimal('2.10'), 1, True, True, 6, [], 3, True, True,"
    " range(1, 2), 1j, 3)]",
)

# Several payloads

case(
    "one definition is one object, in all payloads and clusters",
    """
    class Thing:
        def __init__(self, n=0): self.n = n
    class Color(enum.Enum):
        RED = 1
    first = []
    def keep(thing):
        first.append(thing)
        return len({type(each) for each in first}), isinstance(thing, Thing), thing
    def other(thing): return isinstance(thing, Thing), thing
    def all_of(*things): return {type(each) for each in things} == {Thing}, things
    def many(n):
        with cluster(keep) as made: return [job() for job in [made.submit(Thing(i)) for i in range(n)]]
    def threads(n):
        told = []
        each = [threading.Thread(target=lambda: told.append(run(other, Thing()))) for _ in range(n)]
        for thread in each: thread.start()
        for thread in each: thread.join()
        return told
    """,
    """
    [{row[:2] for row in many(6)}, {type(row[2]) for row in many(3)} == {Thing}, run(other, Thing())[0],
     type(run(other, Thing())[1]) is Thing, run(all_of, Thing(), Thing())[0],
     run(all_of, *run(all_of, Thing(), Thing())[1])[0], {isinstance(row[1], Thing) and row[0] for row in threads(3)}]
    """,
    "[{(1, True)}, True, True, True, True, True, {True}]",
)
case(
    "a cell that is run twice",
    """
    CELL = (
        "class Thing:\\n"
        "    version = {0}\\n"
        "    def go(self): return type(self).version, {0}\\n"
        "def work(one): return isinstance(one, Thing), one.go()\\n"
    )
    exec(CELL.format(1))
    old, old_class, old_work = Thing(), Thing, work
    exec(CELL.format(2))
    def both(a, b): return type(a) is type(b), type(b) is Thing, a.go(), b.go(), a
    """,
    """
    [run(work, old), run(work, Thing()), run(old_work, old), run(both, old, Thing())[:4],
     type(run(both, old, Thing())[4]) is old_class]
    """,
    "[(False, (1, 1)), (True, (2, 2)), (False, (1, 1)), (False, True, (1, 1), (2, 2)), True]",
)
case(
    "what has changed between two clusters",
    """
    FACTOR = 2
    class Thing:
        size = 1
    def work(n): return FACTOR * n, Thing.size
    def change():
        global FACTOR
        FACTOR, Thing.size = 3, 5
        return run(work, 1)
    """,
    "[run(work, 1), change(), run(work, 2)]",
    "[(2, 1), (3, 5), (6, 5)]",
)
