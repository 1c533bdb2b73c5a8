"""Functions that are called by their numbers: from files that the client sends when they are asked for."""

from __future__ import annotations

import builtins
import itertools
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy.worker import function_calls as module
from gdispy.worker import pickling
from gdispy.worker.function_calls import (
    ASK_AGAIN,
    GIVEN,
    LOOK_FIRST,
    LOOK_LIMIT,
    FunctionCalls,
    InitializerFailed,
    NumberedFunction,
    SharedArray,
    file_name,
    pack_function,
    pack_request,
    read_request,
)
from gdispy.worker.runner import running

KEY = "0a1b2c3d"
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
SET: dict[str, Any] = {}


def add(a: int, b: int = 1) -> int:
    return a + b


def subtract(a: int, b: int = 1) -> int:
    return a - b


def set_item(name: str, value: Any) -> None:
    SET[name] = value


class Client:
    """The running job of a worker, whose requests for functions it notes and answers; the clock of the worker."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.requests: list[int] = []
        self.pauses: list[float] = []
        self.now = 1000.0
        #: What is sent for a request, and after how many pauses.
        self.functions: dict[int, bytes] = {}
        self.after = 0

    def send_progress(self, payload: bytes) -> bool:
        number = read_request(payload)
        assert number is not None
        self.requests.append(number)
        if not self.after and number in self.functions:
            self.put(number, self.functions[number])
        return True

    def put(self, number: int, data: bytes, key: str = KEY) -> None:
        path = self.directory / file_name(key, number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    # The clock

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        if self.after and len(self.pauses) == self.after:
            for number, data in self.functions.items():
                self.put(number, data)
        assert len(self.pauses) < 5000, "a file is waited for that does not arrive"


def body(function: Callable[..., Any], *states: Any) -> bytes:
    """A packed function, as in its file; by name, as a function that is installed on the node."""
    return pickle.dumps((function, {}, None, None, *states))


def packed(function: Callable[..., Any]) -> bytes:
    return pack_function(OWN, body(function), b"")


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client(tmp_path)
    monkeypatch.setattr(builtins, "dispy_job_path", str(tmp_path), raising=False)
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(running, "job", made)
    monkeypatch.setattr(module, "_of_worker", None)
    return made


def calls(initializer: Callable[..., Any] | None = None, initargs: tuple[Any, ...] = ()) -> FunctionCalls:
    """The computation of an executor in a worker that has begun."""
    made: FunctionCalls = pickle.loads(pickle.dumps(FunctionCalls(KEY, initializer, initargs)))
    made.begin_worker()
    return made


# Requests


@pytest.mark.parametrize("number", [0, 1, 255, 70_000, 2**32 - 1])
def test_request_names_its_function(number: int) -> None:
    assert read_request(pack_request(number)) == number


@pytest.mark.parametrize("value", [None, b"", b"\x03", pack_request(1)[:-1], pack_request(1) + b"\0", 3, "\x03" * 5])
def test_other_provisional_results_are_not_requests(value: object) -> None:
    assert read_request(value) is None


def test_no_pickle_and_no_exception_can_be_taken_for_a_request() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.dumps(b"1234", protocol)[:1] != module.REQUEST
    assert bytes([pickling.FAILURE]) != module.REQUEST
    for value in (None, 1, b"1234", [(b"", 1)]):
        payload = pickling.dumps(value)
        assert (payload if isinstance(payload, bytes) else payload[0])[:1] != module.REQUEST


def test_files_of_different_executors_have_different_names() -> None:
    names = {file_name(key, number) for key in ("a", "b") for number in (1, 11)}
    assert len(names) == 4 and {os.path.dirname(each) for each in names} == {module.FOLDER}


# Calls


def test_function_that_is_an_argument_is_called_and_not_asked_for(client: Client) -> None:
    made = calls()
    assert made(GIVEN, add, 1, b=5) == 6 and made(GIVEN, subtract, 1) == 0
    assert client.requests == []


def test_function_that_is_there_is_not_asked_for(client: Client) -> None:
    client.put(3, packed(add))
    assert calls()(3, 1, b=2) == 3
    assert client.requests == client.pauses == []


def test_function_is_asked_for_and_loaded_once(client: Client) -> None:
    client.functions = {0: packed(add), 1: packed(subtract)}
    made = calls()
    assert [made(0, 5), made(1, 5), made(0, 6)] == [6, 4, 7]
    assert client.requests == [0, 1]
    # The file is not read again.
    client.put(0, packed(subtract))
    assert made(0, 5) == 6


def test_file_of_another_executor_is_another_function(client: Client) -> None:
    client.put(0, packed(subtract), "ffffffff")
    client.functions = {0: packed(add)}
    assert calls()(0, 5) == 6 and client.requests == [0]


def test_pauses_between_two_looks_for_a_file_grow_up_to_a_limit(client: Client) -> None:
    client.functions, client.after = {0: packed(add)}, 30
    assert calls()(0, 5) == 6
    pauses = client.pauses
    assert pauses[0] == LOOK_FIRST and pauses[-1] == max(pauses) == LOOK_LIMIT
    assert all(first <= second for first, second in itertools.pairwise(pauses))


def test_function_that_does_not_arrive_is_asked_for_again(client: Client) -> None:
    client.functions, client.after = {7: packed(add)}, 2500
    begin = client.now
    assert calls()(7, 5) == 6
    assert set(client.requests) == {7}
    assert len(client.requests) == 1 + int((client.now - begin) / (ASK_AGAIN + LOOK_LIMIT)) > 1


def test_function_is_asked_for_only_by_a_job(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "job", None)
    client.functions, client.after = {0: packed(add)}, 5
    assert calls()(0, 5) == 6 and client.requests == []


def test_exception_of_a_function_is_that_of_the_call(client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        calls()(GIVEN, divmod, 1, 0)


@pytest.mark.parametrize(
    ("version", "has_source", "expected"), [(OWN, True, 6), ("2.7", True, 4), ("2.7", False, 6)], ids=str
)
def test_source_text_is_used_where_the_version_of_python_is_another(
    client: Client, version: str, has_source: bool, expected: int
) -> None:
    client.put(0, pack_function(version, body(add), body(subtract) if has_source else b""))
    assert calls()(0, 5) == expected


# Initializer


def test_initializer_is_called_once_in_each_worker_with_its_arguments(client: Client) -> None:
    SET.clear()
    client.put(0, packed(add))
    made = calls(set_item, ("level", 3))
    assert SET == {"level": 3}
    SET.clear()
    made(0, 1)
    assert SET == {}


def exit_instead() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("initializer", "initargs", "line"),
    [(divmod, (1, 0), "ZeroDivisionError"), (exit_instead, (), "SystemExit: 3"), (set_item, (), "TypeError")],
)
def test_failure_of_the_initializer_is_that_of_each_call(
    client: Client, initializer: Callable[..., Any], initargs: tuple[Any, ...], line: str
) -> None:
    client.put(0, packed(add))
    made = calls(initializer, initargs)
    for number, *arguments in ([0, 1], [GIVEN, add, 1], [5], [0, 1]):
        with pytest.raises(InitializerFailed) as raised:
            made(number, *arguments)
        assert "Traceback" in str(raised.value) and line in str(raised.value)
    # No function is asked for that would not be called.
    assert client.requests == []


# Functions and arrays in the arguments


def test_number_in_the_arguments_is_replaced_by_its_function(client: Client) -> None:
    client.functions = {4: packed(add)}
    calls()
    function = pickle.loads(pickle.dumps(NumberedFunction(4)))
    assert function(1) == 2 and client.requests == [4]


def test_array_in_the_arguments_is_mapped_once_and_cannot_be_changed(client: Client, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    client.put(2, b"")
    numpy.save(str(tmp_path / file_name(KEY, 2)), numpy.arange(5))
    os.rename(tmp_path / f"{file_name(KEY, 2)}.npy", tmp_path / file_name(KEY, 2))
    calls()
    array, same = (pickle.loads(pickle.dumps(SharedArray(2))) for _ in range(2))
    assert array is same and array.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_array_of_objects_is_not_unpickled(client: Client, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    client.put(2, b"")
    with open(tmp_path / file_name(KEY, 2), "wb") as file:
        numpy.save(file, numpy.array([add, None], dtype=object), allow_pickle=True)
    calls()
    with pytest.raises(ValueError, match="objects in dtype"):
        pickle.loads(pickle.dumps(SharedArray(2)))
