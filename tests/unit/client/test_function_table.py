"""Which functions have a number, and when a node is sent one."""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.client import function_table as module
from gdispy.client.function_table import RECENT_LIMIT, SENT_INTERVAL, FunctionTable
from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.messages import Message, Progress, PutFile, Reply, Status
from gdispy.protocol.payload import Payload, joined
from gdispy.worker.function_calls import GIVEN, REQUEST, file_name, pack_request
from gdispy.worker.originals import msgpack
from tests.unit.builders import C

NODE, OTHER = Instance(b"n" * 16), Instance(b"o" * 16)


def double(value: int) -> int:
    return 2 * value


class Squared:
    def __call__(self, value: int) -> int:
        return value**2


def nested(number: int) -> Callable[[], int]:
    return lambda: number


class Asked:
    """A table of functions; the messages that it sends, and what takes the answers."""

    def __init__(self) -> None:
        self.table = FunctionTable()
        self.sent: list[PutFile] = []
        self.takes: list[Callable[[Status | Reply], None]] = []

    def ask(self, make: Callable[[int], Message], take: Callable[[Status | Reply], None]) -> None:
        message = make(len(self.sent) + 1)
        assert isinstance(message, PutFile)
        self.sent.append(message)
        self.takes.append(take)

    def progress(self, value: Any, node: bytes = NODE) -> bool:
        return self.table.answer(C, self.ask, Progress(C, JobId(1), 1, 0, value, "", node))

    def files(self, number: int) -> dict[str, bytes]:
        rows, contents = self.table._files[number]
        return {str(row[0]): bytes(joined(content)) for row, content in zip(rows, contents, strict=True)}


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    yield now


# Numbers


def test_each_function_of_a_module_has_a_number_that_stays_the_same() -> None:
    table = FunctionTable()
    functions = (double, len, operator.add, Squared)
    numbers = [table.number_of(each) for each in functions]
    assert sorted(numbers) == [0, 1, 2, 3]
    assert [table.number_of(each) for each in functions] == numbers


@pytest.mark.parametrize(
    "function", [functools.partial(double, 1), Squared(), Squared().__call__], ids=["partial", "object", "method"]
)
def test_callable_that_may_change_is_sent_with_each_call(function: Callable[..., Any]) -> None:
    table = FunctionTable()
    assert [table.number_of(function) for _ in range(3)] == [GIVEN] * 3


def test_function_that_was_defined_in_another_gets_a_number_when_it_is_used_again() -> None:
    table, function = FunctionTable(), nested(1)
    assert table.number_of(function) == GIVEN
    assert table.number_of(function) == 0 == table.number_of(function)
    # Another one with the same code is another function.
    assert table.number_of(nested(2)) == GIVEN


def test_functions_that_were_used_once_are_not_remembered_without_end() -> None:
    table = FunctionTable()
    functions = [nested(number) for number in range(RECENT_LIMIT + 1)]
    assert {table.number_of(each) for each in functions} == {GIVEN}
    assert len(table._recent) == RECENT_LIMIT
    assert table.number_of(functions[0]) == GIVEN
    assert table.number_of(functions[-1]) == 0


def test_functions_beyond_the_limit_are_sent_with_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FUNCTIONS_LIMIT", 1)
    table = FunctionTable()
    assert [table.number_of(each) for each in (double, len, len, double)] == [0, GIVEN, GIVEN, 0]


def test_function_that_cannot_be_packed_gets_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    table = FunctionTable()
    with monkeypatch.context() as patch:
        patch.setattr(module, "pack", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            table.number_of(double)
    assert table.number_of(len) == 0 and table.number_of(double) == 1


def test_last_file_of_a_function_is_the_function(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    number = asked.table.number_of(double)
    files = asked.files(number)
    name = file_name(asked.table.key, number)
    version, body, source = msgpack.unpackb(files[name])
    assert version.count(".") == 1 and type(body) is type(source) is bytes and body
    # The modules that it needs are there before it.
    packed = SimpleNamespace(files={"a.py": b"A = 1", "b/c.py": b""}, body=b"body", source=b"source")
    monkeypatch.setattr(module, "pack", lambda *args: packed)
    files = asked.files(asked.table.number_of(len))
    assert [*files] == ["a.py", "b/c.py", file_name(asked.table.key, 1)] and files["a.py"] == b"A = 1"
    assert msgpack.unpackb(files[file_name(asked.table.key, 1)])[1:] == [b"body", b"source"]


def test_tables_have_different_files() -> None:
    assert FunctionTable().key != FunctionTable().key


# Requests


@pytest.mark.parametrize("value", [b"", b"\x80\x04N.", REQUEST + b"\0" * 3, REQUEST + b"\0" * 5, None, Payload()])
def test_other_provisional_results_are_not_requests(asked: Asked, value: Any) -> None:
    asked.table.number_of(double)
    assert not asked.progress(value) and asked.sent == []


def test_requested_function_is_sent_to_the_node_that_asks(asked: Asked) -> None:
    asked.table.number_of(len)
    number = asked.table.number_of(double)
    assert asked.progress(pack_request(number))
    [message] = asked.sent
    assert (message.computation, message.question, message.node) == (C, 1, NODE)
    assert (message.files, message.contents) == asked.table._files[number]


def test_request_for_an_unknown_function_is_taken_and_logged(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "gdispy"):
        assert asked.progress(pack_request(0))
    assert asked.sent == [] and "the function 0, which" in caplog.text


def test_node_is_sent_a_function_once_in_a_while(asked: Asked, clock: list[float]) -> None:
    for each in (double, len):
        asked.table.number_of(each)
    for _ in range(3):
        assert asked.progress(pack_request(0))
    assert len(asked.sent) == 1
    # Other functions, and other nodes, do not wait for it.
    assert asked.progress(pack_request(1)) and asked.progress(pack_request(0), OTHER)
    assert len(asked.sent) == 3
    clock[0] += SENT_INTERVAL - 0.01
    assert asked.progress(pack_request(0)) and len(asked.sent) == 3
    clock[0] += 0.01
    assert asked.progress(pack_request(0)) and len(asked.sent) == 4


def test_function_that_did_not_arrive_is_sent_again_at_the_next_request(
    asked: Asked, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    asked.table.number_of(double)
    asked.progress(pack_request(0))
    with caplog.at_level(logging.WARNING, "gdispy"):
        asked.takes[0](Reply(C, 1, "disk full \x1b", -1.0, []))
    assert r"was not sent to a node: disk full \x1b" in caplog.text
    assert asked.progress(pack_request(0)) and len(asked.sent) == 2
    asked.takes[1](Reply(C, 2, "", 0.0, []))
    assert asked.progress(pack_request(0)) and len(asked.sent) == 2


# Other files


def data_files(table: FunctionTable, number: int) -> tuple[dict[str, int], bytes]:
    found = table._files[number]
    assert found is not None
    rows, contents = found
    return {str(row[0]): int(row[3]) for row in rows}, b"".join(bytes(joined(each)) for each in contents)  # type: ignore[call-overload]


def test_file_has_a_number_by_its_contents(asked: Asked) -> None:
    table = asked.table
    table.number_of(double)
    numbers = [table.number_of_data(parts) for parts in ([b"ab"], [b"a", b"c"], [b"a", b"b"])]
    assert numbers == [1, 2, 1] and table.number_of(len) == 3
    assert data_files(table, 2) == ({file_name(table.key, 2): 2}, b"ac")


def test_released_file_is_not_sent_any_more_and_comes_back_under_its_number(
    asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    table = asked.table
    number = table.number_of_data([b"ab"])
    assert asked.progress(pack_request(number), OTHER)
    assert table.release_data(keep=2) == []
    assert asked.progress(pack_request(number)) and len(asked.sent) == 1
    assert "which is not there" in caplog.text
    assert table.number_of_data([b"ab"]) == number
    assert asked.progress(pack_request(number)) and len(asked.sent) == 2


def test_files_that_were_used_last_are_kept_by_nodes_and_the_others_get_a_new_number(asked: Asked) -> None:
    table = asked.table
    first, second, third = (table.number_of_data([each]) for each in (b"aa", b"bb", b"cc"))
    table.number_of_data([b"aa"])
    assert table.release_data(keep=4) == [second]
    assert table.number_of_data([b"aa"]) == first and table.number_of_data([b"cc"]) == third
    assert table.number_of_data([b"bb"]) not in (first, second, third)


def test_file_that_is_forgotten_gets_a_new_number(asked: Asked) -> None:
    table = asked.table
    number, other = table.number_of_data([b"aa"]), table.number_of_data([b"bb"])
    table.forget_data(number)
    assert asked.progress(pack_request(number)) and asked.sent == []
    assert table.number_of_data([b"aa"]) not in (number, other) and table.number_of_data([b"bb"]) == other


def test_dropped_file_is_replaced_by_an_empty_one_on_the_nodes_that_have_it(asked: Asked) -> None:
    table = asked.table
    first, second = table.number_of_data([b"aa"]), table.number_of_data([b"bb"])
    asked.progress(pack_request(first))
    asked.progress(pack_request(first), OTHER)
    asked.progress(pack_request(second))
    asked.sent.clear()
    table.drop(C, asked.ask, [first])
    assert {(each.node, each.files[0][0], each.files[0][3]) for each in asked.sent} == {
        (node, file_name(table.key, first), 0) for node in (NODE, OTHER)
    }
    asked.sent.clear()
    table.drop(C, asked.ask, [first])
    assert asked.sent == []
