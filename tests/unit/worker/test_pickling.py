"""Objects through payload bytes and back."""

from __future__ import annotations

import functools
import io
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdispy.worker import pickling, source
from gdispy.worker.open_files import OpenFile
from gdispy.worker.pickling import ALIGNMENT, OUT_OF_BAND, dumps, dumps_call, dumps_result, loads

BIG = 3 * OUT_OF_BAND + 5

plain_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.frozensets(st.integers(), max_size=4)
    ),
    max_leaves=12,
)


class Point:
    """A class of a module, found there by its name."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    def plus(self, other: int) -> int:
        return self.x + other

    @classmethod
    def at(cls, x: int) -> Point:
        return cls(x)


class Guarded(Point):
    """Leaves something out that cannot travel, as programs for dispy do."""

    def __init__(self, x: int) -> None:
        super().__init__(x)
        self.lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"x": self.x}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.lock = threading.Lock()


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: int) -> None:
        self.x = x


def double(x: int) -> int:
    return 2 * x


def joined(payload: pickling.Payload) -> bytearray:
    """The payload as it arrives: one writable buffer."""
    return bytearray(payload if isinstance(payload, bytes) else b"".join(payload))


def through(value: Any) -> Any:
    return loads(joined(dumps(value)))


# Plain values


@given(plain_data)
def test_plain_data_comes_back_equal(value: Any) -> None:
    back = through(value)
    assert back == value
    assert type(back) is type(value)


@settings(deadline=None)
@given(st.lists(plain_data, max_size=3), st.dictionaries(st.text(max_size=5), plain_data, max_size=3))
def test_call_comes_back_as_arguments(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert loads(joined(dumps_call(tuple(args), kwargs))) == (tuple(args), kwargs)


@given(plain_data)
def test_result_comes_back_equal(value: Any) -> None:
    assert loads(joined(dumps_result(value))) == value


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_payload_may_be_read_from_any_buffer(kind: Any) -> None:
    for value in ([1, "a"], [np.zeros(BIG), 1]):
        data = kind(bytes(joined(dumps(value))))
        assert loads(data)[1] == value[1]


# Large buffers


@pytest.mark.parametrize("size", [0, 1, OUT_OF_BAND - 1, OUT_OF_BAND, OUT_OF_BAND + 1, BIG])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_buffers_of_any_size_keep_their_type(kind: Any, size: int) -> None:
    value = kind((bytes(range(256)) * (size // 256 + 1))[:size])
    for back in (
        through(value),
        loads(joined(dumps_result(value))),
        loads(joined(dumps_call((value,), {})))[0][0],
        loads(joined(dumps_call((), {"a": value})))[1]["a"],
        through({"a": [value]})["a"][0],
    ):
        assert type(back) is kind
        assert back == value


def test_large_bytes_among_arguments_are_not_copied() -> None:
    value = bytes(BIG)
    parts = dumps_call((1, value, "x"), {})
    assert isinstance(parts, list)
    assert any(isinstance(part, memoryview) and part.obj is value for part in parts)


def test_large_bytes_as_result_are_not_copied() -> None:
    value = bytes(BIG)
    parts = dumps_result(value)
    assert isinstance(parts, list)
    assert any(isinstance(part, memoryview) and part.obj is value for part in parts)


def test_bytes_that_come_twice_come_back_twice() -> None:
    value = bytes(range(256)) * 1000
    assert loads(joined(dumps_call((value, value), {"again": value}))) == ((value, value), {"again": value})


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.arange(BIG), id="long"),
        pytest.param(np.arange(10), id="short"),
        pytest.param(np.zeros((0, 5)), id="empty"),
        pytest.param(np.array(7.5), id="single"),
        pytest.param(np.arange(BIG).reshape(-1, 1).T, id="row"),
        pytest.param(np.asfortranarray(np.arange(90_000).reshape(300, 300)), id="by columns"),
        pytest.param(np.arange(2 * BIG)[::2], id="every second"),
        pytest.param(np.arange(BIG)[::-1], id="backwards"),
        pytest.param(np.arange(BIG, dtype=np.complex128), id="complex"),
        pytest.param(np.array([{"a": 1}, None], dtype=object), id="objects"),
        pytest.param(np.zeros(BIG, dtype=[("a", "i4"), ("b", "S3")]), id="records"),
    ],
)
def test_array_comes_back_equal_and_writable(array: Any) -> None:
    for back in (
        through(array),
        loads(joined(dumps_call((array,), {})))[0][0],
        loads(joined(dumps_result(array))),
        loads(joined(dumps_call((bytes(BIG), array), {})))[0][1],
    ):
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        np.testing.assert_array_equal(back, array)
        assert back.flags.writeable
        if back.size and back.dtype != object:
            back.flat[0] = back.flat[-1]


def test_large_arrays_are_views_of_the_payload_and_aligned() -> None:
    data = joined(dumps([np.arange(BIG), np.arange(BIG, dtype=np.int8), np.arange(BIG, dtype=np.float64)]))
    base = np.frombuffer(data, dtype=np.uint8).ctypes.data
    for array in loads(data):
        offset = array.ctypes.data - base
        assert 0 < offset < len(data)
        assert offset % ALIGNMENT == 0


def test_large_arrays_are_not_copied_into_the_pickle() -> None:
    array = np.arange(BIG)
    parts = dumps([array])
    assert isinstance(parts, list)
    assert any(isinstance(part, memoryview) and part.nbytes == array.nbytes for part in parts)
    assert sum(len(part) for part in parts if isinstance(part, bytes)) < 1000


@pytest.mark.parametrize("size", [1, 50, 1000, 65_521, 10**6])
@pytest.mark.parametrize(
    "value",
    [[1, "a"], [np.arange(BIG // 8), np.arange(BIG // 8)], bytes(range(256)) * 500],
    ids=["plain", "arrays", "bytes"],
)
def test_payload_may_come_in_pieces_of_any_size(value: Any, size: int) -> None:
    for payload in (dumps_result(value), dumps(value)):
        data = bytes(joined(payload))
        back = loads([memoryview(data)[place : place + size] for place in range(0, len(data), size)])
        assert type(back) is type(value)
        assert bytes(back) == value if isinstance(value, bytes) else all(map(np.array_equal, back, value))


def test_arrays_that_came_in_pieces_are_writable() -> None:
    data = bytes(joined(dumps([np.arange(BIG)])))
    [array] = loads([memoryview(data)[:65_521], memoryview(data)[65_521:]])
    array[0] = 7


def test_container_that_is_cut_short_is_refused() -> None:
    data = joined(dumps([np.arange(BIG)]))
    with pytest.raises(pickle.UnpicklingError, match="shorter than its head says"):
        loads(data[:-1])


# Functions and objects


def test_function_of_a_module_comes_back_by_name() -> None:
    assert through(double) is double


def test_lambda_and_closure_come_back_by_value() -> None:
    factor = 3

    def inner(x: int) -> int:
        return factor * x

    assert through(lambda x: x + 1)(1) == 2
    assert through(inner)(5) == 15


def test_function_that_calls_itself_comes_back() -> None:
    def factorial(n: int) -> int:
        return 1 if n == 0 else n * factorial(n - 1)

    assert through(factorial)(5) == 120


def test_partials_and_bound_methods_come_back() -> None:
    assert through(functools.partial(double, 4))() == 8
    assert through(functools.partial(lambda x, y: x - y, y=1))(4) == 3
    assert through(Point(3).plus)(4) == 7
    assert through(Point.at)(4) == Point(4)


def test_objects_with_state_of_their_own_come_back() -> None:
    back = through([Guarded(3), Slotted(4), Point(5)])
    assert (back[0].x, back[1].x, back[2]) == (3, 4, Point(5))
    assert back[0].lock.acquire(blocking=False)


def test_class_made_inside_a_function_comes_back_by_value() -> None:
    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

        def __getstate__(self) -> dict[str, int]:
            return {"x": self.x + 1}

    back = through(Local(1))
    assert (type(back).__name__, back.x) == ("Local", 2)


def test_one_object_in_two_places_stays_one() -> None:
    shared = [1]
    back = through([shared, shared])
    assert back[0] is back[1]


@pytest.mark.parametrize(
    "value", [(x for x in ()), sys.stdin.__class__, threading.Lock()], ids=["generator", "class", "lock"]
)
def test_what_cannot_travel_raises_at_the_sender_or_comes_back(value: Any) -> None:
    try:
        payload = dumps(value)
    except Exception:
        return
    loads(joined(payload))


def test_generator_cannot_travel() -> None:
    for attempt in (dumps, dumps_result, lambda value: dumps_call((value,), {})):
        with pytest.raises(TypeError):
            attempt(x for x in ())


def test_globals_that_a_function_does_not_refer_to_stay_here() -> None:
    space: dict[str, Any] = {"ballast": "x" * 10_000_000, "needed": 3}
    exec("def function(x): return needed * x", space)
    payload = joined(dumps(space["function"]))
    assert len(payload) < 10_000
    assert loads(payload)(2) == 6


_PROGRAM = """
import sys
from gdispy.worker import pickling, source

class Own:
    def __init__(self, x): self.x = x
    def twin(self): return Own(self.x)

def work(own): return Own(own.x + 1) if isinstance(own, Own) else None

def joined(payload): return bytes(payload if isinstance(payload, bytes) else b"".join(payload))

if sys.argv[1] == "client":
    sys.stdout.write(joined(pickling.dumps((work, {}))).hex() + "\\n")
    sys.stdout.write(joined(pickling.dumps_call((Own(4),), {})).hex() + "\\n")
    sys.stdout.write(joined(pickling.dumps_call((["__main__"],), {})).hex() + "\\n")
    sys.stdout.flush()
    back = pickling.loads(bytes.fromhex(sys.stdin.readline()))
    print(type(back) is Own, back.x, type(back.twin()) is Own)
"""
_WORKER = """
import sys
from gdispy.worker import pickling, source

work, _ = pickling.loads(bytes.fromhex(sys.stdin.readline()))
args, kwargs = pickling.loads(bytes.fromhex(sys.stdin.readline()))
assert pickling.loads(bytes.fromhex(sys.stdin.readline())) == ((["__main__"],), {})
result = work(*args, **kwargs)
payload = pickling.dumps_result(result)
print((payload if isinstance(payload, bytes) else b"".join(payload)).hex())
"""


def test_classes_of_the_program_are_one_class_there_and_the_programs_own_again_here(tmp_path: Any) -> None:
    # Given a program with a class and a function of its own, and a worker that does not know it.
    (tmp_path / "program.py").write_text(_PROGRAM)
    with (
        subprocess.Popen(
            [sys.executable, str(tmp_path / "program.py"), "client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as client,
        subprocess.Popen(
            [sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as worker,
    ):
        assert client.stdout is not None
        # When function and arguments go there, and the result comes back.
        sent = "".join(client.stdout.readline() for _ in range(3))
        result, _ = worker.communicate(sent, timeout=20)
        answer, _ = client.communicate(result, timeout=20)
    # Then isinstance held there, and here it is an object of the program's own class.
    assert answer.split() == ["True", "5", "True"]


def test_code_of_another_version_of_python_is_refused_before_it_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    exec("def made(number):\n    return number + 1", names)  # There is no source text of it.
    stream = pickling.dumps(names["made"])
    assert pickling.loads(stream)(1) == 2
    monkeypatch.setattr(pickling, "_VERSION", (3, 99))
    with pytest.raises(pickle.UnpicklingError, match=r"has compiled, and this is Python 3\.99"):
        pickling.loads(stream)


class _Guarded:
    def __init__(self, number: int) -> None:
        self.__number = number

    def number(self) -> int:
        return self.__number


class _Kept(_Guarded):
    def number(self) -> int:
        def next_one(number: int) -> int:
            return number + 1

        return next_one(super().number())


def _code_of(function: Any) -> Any:
    return getattr(function, "__code__", None)


def _adder(n: int) -> Any:
    def add(x: int, *more: int, y: int = 2, **others: int) -> int:
        return x + n + y + sum(more) + sum(others.values())

    return add


async def _later(x: int) -> int:
    return x


def _counting(n: int) -> Any:
    yield from range(n)


_TWO_ON_A_LINE = [lambda x: [x + y for y in range(x)], lambda x: {x + y for y in range(x)}]


@pytest.mark.parametrize(
    "function",
    [_code_of, _adder(1), _later, _counting, _Guarded.__init__, _Guarded.number, _Kept.number, *_TWO_ON_A_LINE],
)
def test_code_of_another_version_is_compiled_from_its_text(function: Any) -> None:
    text = source.text_of_code(function.__code__)
    code = source.kept_code(text, function.__code__.co_name)
    assert (code.co_names, code.co_freevars) == (function.__code__.co_names, function.__code__.co_freevars)
    assert code.co_code == function.__code__.co_code
    # It can go on to yet another version from there.
    assert source.text_of_code(code) == text


def test_functions_go_to_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = pickling.dumps((_adder(5), lambda x: x + 1))
    monkeypatch.setattr(pickling, "_VERSION", (3, 99))
    add, step = pickling.loads(stream)
    assert (add(1, 10, z=100), step(1)) == (118, 2)


def test_text_that_has_changed_since_is_not_sent(tmp_path: Any) -> None:
    file = tmp_path / "changed.py"
    file.write_text("def f(x):\n    return x + 1\n")
    names: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    file.write_text("def f(x):\n    return x + 2\n")
    assert source.text_of_code(names["f"].__code__) == ""


_LOCKED = [threading.Lock(), threading.RLock(), threading.Condition(), threading.Condition(threading.Lock())]


@pytest.mark.parametrize("lock", _LOCKED, ids=lambda lock: type(lock).__name__)
@pytest.mark.parametrize("held", [False, True])
def test_locks_arrive_unlocked(lock: Any, held: bool) -> None:
    if held:
        lock.acquire()
    try:
        (arrived,) = pickling.loads(pickling.dumps((lock,)))
    finally:
        if held:
            lock.release()
    # Another thread gets it, so nobody holds it.
    taken: list[bool] = []
    thread = threading.Thread(target=lambda: taken.append(arrived.acquire(blocking=False)))
    thread.start()
    thread.join()
    assert taken == [True]


def test_locks_among_source_text_arrive_unlocked() -> None:
    assert pickle.loads(source.dumps(threading.RLock())).acquire(blocking=False)


class Holder:
    def __init__(self, held: Any) -> None:
        self.held = held
        self.other = lambda: held


@pytest.mark.parametrize("mode", ["r", "rb", "rb+", "w", "wb", "x", "a", "r+", "w+"])
@pytest.mark.parametrize("place", ["alone", "closure", "object", "handler", "layer"])
def test_open_files_are_refused_and_stay_as_they_are(tmp_path: Any, mode: str, place: str) -> None:
    path = tmp_path / "file.txt"
    if mode != "x":
        path.write_text("precious")
    with open(path, mode) as file:
        if "w" in mode or "x" in mode:
            file.write("precious" if "b" not in mode else b"precious")
            file.flush()
        handler = logging.StreamHandler(file)
        layer = getattr(file, "buffer", file)
        held = {"alone": file, "object": Holder(file), "handler": handler, "layer": layer}
        value = held.get(place, lambda: file)
        # The layer below a text file has the mode of its own.
        shown = layer.mode if place == "layer" else mode
        text = f"an open file ({path}, mode {shown!r}) cannot be sent: open it in the function"
        with pytest.raises(OpenFile) as caught:
            dumps(value)
        assert str(caught.value) == text
        with pytest.raises(OpenFile):
            dumps_call((1, value), {})
        with pytest.raises(OpenFile):
            dumps_result(value)
    assert path.read_text() == "precious"


def test_files_of_modules_that_compress_are_refused(tmp_path: Any) -> None:
    import gzip

    with gzip.open(tmp_path / "file.gz", "wb") as file, pytest.raises(OpenFile):
        dumps(file)
    with tempfile.NamedTemporaryFile() as temporary, pytest.raises(OpenFile):
        dumps(temporary)
    with (
        open(os.open(os.devnull, os.O_RDONLY)) as by_number,
        pytest.raises(OpenFile, match=r"descriptor \d"),
    ):
        dumps(by_number)


def test_standard_streams_are_those_of_the_other_end() -> None:
    for name in ("__stdin__", "__stdout__", "__stderr__"):
        stream = getattr(sys, name)
        assert through(stream) is stream
        assert through(stream.buffer) is stream.buffer
        assert through(lambda here=stream: here)() is stream


def test_closed_files_arrive_closed_and_stay_as_they_are(tmp_path: Any) -> None:
    for mode, kind in (("w", "TextIOWrapper"), ("rb", "BufferedReader")):
        with open(tmp_path / "file", mode) as file:
            if mode == "w":
                file.write("precious")
        arrived = through(file)
        assert arrived.closed and type(arrived).__name__ == kind
    assert (tmp_path / "file").read_text() == "precious"


def test_files_in_memory_come_back() -> None:
    assert through(io.StringIO("some text")).read() == "some text"
    assert through(io.BytesIO(b"some bytes")).read() == b"some bytes"
