"""Messages: what may be in each field, and nothing else gets past `from_values`."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import Any

import pytest

from gdispy.errors import ProtocolError
from gdispy.protocol.field_checks import COLUMN_LIMIT, TEXT_LIMIT, is_number_column, is_text_column
from gdispy.protocol.ids import Instance
from gdispy.protocol.messages import (
    ALL,
    BY_TAG,
    Accepted,
    Availability,
    Cancel,
    Cpus,
    Ended,
    Event,
    Explain,
    Explained,
    Fenced,
    FileContents,
    Follow,
    Hello,
    Inventory,
    JobFacts,
    JobFactsRequest,
    JobNames,
    Limit,
    LogEvents,
    LogRequest,
    Message,
    MissingFiles,
    NodeCommand,
    NodeFound,
    NodeOrder,
    Notice,
    Open,
    OutcomesAcked,
    Overview,
    OverviewRequest,
    Prepare,
    Prepared,
    Printed,
    Progress,
    ProgressAcked,
    PutFile,
    Recall,
    Release,
    Released,
    Reply,
    ResendRequest,
    Resume,
    Returned,
    Run,
    RunningJobs,
    RunningJobsRequest,
    SetPriority,
    Started,
    Status,
    StatusRequest,
    Unknown,
    Upload,
    Uploaded,
    Usage,
    UsageRequest,
    UseNode,
    Withdraw,
    from_values,
)
from gdispy.protocol.payload import MemoryPayload, bulk_size
from gdispy.protocol.rows import (
    Claim,
    ComputationOverviewRow,
    JobOptions,
    LogPosition,
    LogRow,
    NodeOverviewRow,
    NodeRow,
    RunningJobRow,
    UsageRow,
)
from tests.unit.builders import Announced, C, D

PAYLOAD = Announced(100_000)
FILE = ["a/b.py", 0o644, 1.5, 3, b"d" * 32]
NODE = Instance(b"n" * 16)
ROW = NodeRow("node", "10.0.0.1", 51348, 4, 2, 10, 1.5, 0, 0)

EXAMPLES: list[Message] = [
    Hello("node", b"i" * 16, "host", "0.1.0", "3.11", "linux", 8, "", 5.0, [Claim(C, b"t" * 16, 2)], 3),  # type: ignore[arg-type]
    Inventory([C, D], [[1, 2], []], [[1, 3], []], [[2], []]),  # type: ignore[list-item]
    Prepare(
        C,
        "f",
        "function",
        "",
        "3.11",
        "",
        True,
        PAYLOAD,
        [FILE],
        [PAYLOAD],
        b"arguments",
        b"source",
        b"t" * 16,
        1,
        True,
        5,
    ),
    Prepared(C, "no such file", "threads"),
    Run(C, [1, 2], [1, 1], [b"", PAYLOAD], [None, JobOptions(NODE, 1.0, 60.0, 2, 0, b"", [FILE], [PAYLOAD], 1.5)]),  # type: ignore[list-item]
    Cancel(C, [1], [0]),  # type: ignore[list-item]
    Recall(C, 4),
    Returned(C, [1], [1]),  # type: ignore[list-item]
    Started(C, [1], [1], [1.5], ""),  # type: ignore[list-item]
    Progress(C, 1, 1, 0, PAYLOAD, ""),  # type: ignore[arg-type]
    Ended(C, [1], [1], [11], [PAYLOAD], [b"out"], [b""], [""], [1.0], [2.0], [0], [False], ""),  # type: ignore[list-item]
    OutcomesAcked(C, [1], [1]),  # type: ignore[list-item]
    ProgressAcked(C, [1], [1], [3]),  # type: ignore[list-item]
    Release(C),
    Released(C),
    Open(C, ["*"], False, True, False, True),
    StatusRequest(C, 1),
    Status(C, 1, [ROW], 0, ["text"]),
    Notice(C, "text"),
    Explain(C, 1, 1, True),  # type: ignore[arg-type]
    Explained(C, 1, ["state", "running"]),
    UsageRequest(1, 30),
    Usage(1, [UsageRow("2026-01-31", "ann", 1, 2, 3, 4.5)]),
    RunningJobsRequest(1, 30),
    RunningJobs(1, [RunningJobRow(C, 1, 2, 3.0, 4.0, 5, "c41f", "f", "ann", "node")], 6, ["text"]),  # type: ignore[arg-type]
    JobFactsRequest(1, "c41f:17"),
    JobFacts(1, "", ["state", "running"]),
    LogRequest(1, 600.0, 1 << 20, "node", [LogPosition(NODE, 7)]),
    LogEvents(1, "", [LogRow(NODE, 7, 1.5, "INFO", "node", "text")], 8, ["text"]),
    Cpus(3, ""),
    Limit(C, 2, 1 << 30),
    Availability([50.0, 1e9, 2e9, 100.0]),
    MissingFiles(C, [0, 2]),
    FileContents(C, [0], [PAYLOAD]),
    NodeFound(C, NODE, ["10.0.0.1", "node"], 51348, 4, "linux", []),
    UseNode(C, NODE, 2, b"arguments", [FILE], [PAYLOAD]),
    NodeCommand(C, 1, "cpus", NODE, -1.0),
    Reply(C, 1, "", 3.0, [1, 2]),  # type: ignore[list-item]
    PutFile(C, 1, NODE, [FILE], [PAYLOAD]),
    Upload(C, 1, 1, 0, [FILE], [PAYLOAD]),  # type: ignore[arg-type]
    Withdraw(C, 1, [1, 2]),  # type: ignore[list-item]
    SetPriority(C, 1, 2, 1.5),  # type: ignore[arg-type]
    Follow(C, [1]),  # type: ignore[list-item]
    Printed(C, 1, 1, 2, 100, b"text\n", NODE),  # type: ignore[arg-type]
    Uploaded(C, 1, 1, 0, "no room"),  # type: ignore[arg-type]
    Event(C, 4, NODE, [ROW], []),
    Resume([C, D], [[1, 2], []]),  # type: ignore[list-item]
    Accepted(C, [1]),  # type: ignore[list-item]
    Unknown(C, [1], False),  # type: ignore[list-item]
    ResendRequest(C, [1], True),  # type: ignore[list-item]
    Fenced(C),
    JobNames(C, [1], [b"name"]),  # type: ignore[list-item]
    OverviewRequest(1),
    NodeOrder(1, "drain", 0),
    NodeOrder(1, "cpus", 4),
    NodeOrder(1, "hours", 0, "18:00 07:00 08:00"),
    Overview(
        1,
        [NodeOverviewRow("node", "10.0.0.1", 51348, 4, 2, True)],
        [ComputationOverviewRow("client", "10.0.0.2", "f", 10, 2)],
    ),
]
IDS = [type(message).__name__ for message in EXAMPLES]

#: Values that no field takes.
NEVER: list[Any] = [
    None,
    {},
    {"a": 1},
    (),
    set(),
    object(),
    -1,
    1 << 53,
    float("nan"),
    float("inf"),
    1e300,
    [None],
    [{}],
]


def field_cases() -> list[Any]:
    cases = []
    for message in EXAMPLES:
        for place, field in enumerate(fields(message), 1):  # type: ignore[arg-type]
            cases.append(pytest.param(message, place, id=f"{type(message).__name__}.{field.name}"))
    return cases


@pytest.mark.parametrize("message", EXAMPLES, ids=IDS)
def test_message_survives_the_way_through_its_values(message: Message) -> None:
    assert from_values(message.values()) == message


def test_every_message_has_an_example_and_a_tag_of_its_own() -> None:
    assert {type(message) for message in EXAMPLES} == set(ALL)
    assert len(BY_TAG) == len(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_every_field_has_its_check_and_every_column_is_a_field(kind: type[Message]) -> None:
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    assert len(kind.shape) == len(names)
    assert set(kind.columns) <= set(names)


@pytest.mark.parametrize(("message", "place"), field_cases())
def test_field_refuses_what_it_cannot_be(message: Message, place: int) -> None:
    for value in NEVER:
        values = message.values()
        values[place] = value
        with pytest.raises(ProtocolError):
            from_values(values)


def _needed(message: Message) -> int:
    """How many fields have no value of their own."""
    return sum(each.default is MISSING and each.default_factory is MISSING for each in fields(message))  # type: ignore[arg-type]


@pytest.mark.parametrize("message", EXAMPLES, ids=IDS)
def test_message_with_a_field_missing_is_refused(message: Message) -> None:
    with pytest.raises(ProtocolError, match="fields, not"):
        from_values(message.values()[: _needed(message)])


@pytest.mark.parametrize("message", EXAMPLES, ids=IDS)
def test_fields_that_an_earlier_version_did_not_know_get_their_values(message: Message) -> None:
    values = message.values()
    needed = _needed(message)
    for length in range(needed + 1, len(values) + 1):
        assert from_values(values[:length]) == type(message)(*values[1:length])


def test_fields_that_were_filled_in_belong_to_one_message_only() -> None:
    first = from_values([12, C, [1], [1], [b""]])
    second = from_values([12, C, [2], [1], [b""]])
    assert isinstance(first, Run) and isinstance(second, Run)
    assert first.options == [] and first.options is not second.options


@pytest.mark.parametrize("message", EXAMPLES, ids=IDS)
def test_fields_that_a_later_version_added_are_ignored(message: Message) -> None:
    assert from_values([*message.values(), {"later": 1}]) == message


@pytest.mark.parametrize("message", [each for each in EXAMPLES if each.columns], ids=lambda each: type(each).__name__)
def test_columns_of_different_length_are_refused(message: Message) -> None:
    names = [field.name for field in fields(message)]  # type: ignore[arg-type]
    for name in message.columns:
        values = message.values()
        values[1 + names.index(name)] = []
        with pytest.raises(ProtocolError, match="differ in length"):
            from_values(values)


@pytest.mark.parametrize("values", [None, [], {}, "x", [None], [1.0], [True, C], [0], [2], [-1], [1 << 70], ["Hello"]])
def test_what_is_no_message_is_refused(values: Any) -> None:
    with pytest.raises(ProtocolError):
        from_values(values)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1, "node", b"i" * 15, "", "", "", "", 0, "", 0.0], id="instance too short"),
        pytest.param([1, "node", b"i" * 16, "x" * (TEXT_LIMIT + 1), "", "", "", 0, "", 0.0], id="text too long"),
        pytest.param([1, "node", b"i" * 16, "", "", "", "", True, "", 0.0], id="truth for a count"),
        pytest.param([1, "node", b"i" * 16, "", "", "", "", 0, "", 5], id="count for a number"),
        pytest.param([13, C, [1, True], [1, 1]], id="truth for a job"),
        pytest.param([13, C, [1, 2.0], [1, 1]], id="number for a job"),
        pytest.param([13, C, [0] * (COLUMN_LIMIT + 1), [0] * (COLUMN_LIMIT + 1)], id="column too long"),
        pytest.param([12, C, [1], [1], [bytearray(b"x")]], id="bytearray for bulk"),
        pytest.param([12, C, [1], [1], ["x"]], id="text for bulk"),
        pytest.param([16, C, [1], [1], [1], ""], id="count for a time"),
        pytest.param([30, C, ["*", 1], False], id="count for an address"),
        pytest.param([30, C, ["*"], 0], id="count for a flag"),
        pytest.param([10, C, "f", "function", "", "", "", True, b"", [["a", 1, 1.0, 1]], [b""]], id="file of 4 fields"),
        pytest.param(
            [10, C, "f", "function", "", "", "", True, b"", [["a", 1, 1, 1, b""]], [b""]], id="time of a file"
        ),
        pytest.param(
            [10, C, "f", "function", "", "", "", True, b"", [[1, 1, 1.0, 1, b""]], [b""]], id="name of a file"
        ),
        pytest.param([10, C, "f", "function", "", "", "", True, b"", [["a", -1, 1.0, 1, b""]], [b""]], id="mode"),
        pytest.param([10, C, "f", "function", "", "", "", True, b"", ["a"], [b""]], id="text for a file"),
    ],
)
def test_value_just_beyond_what_a_field_takes_is_refused(values: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        from_values(values)


@pytest.mark.parametrize(
    ("jobs", "attempts"),
    [
        pytest.param([[1, 2]], [[1]], id="fewer attempts than jobs"),
        pytest.param([["1"]], [[1]], id="text for a job"),
        pytest.param([[-1]], [[1]], id="negative job"),
        pytest.param([[1]], [[-1]], id="negative attempt"),
        pytest.param([[[1]]], [[1]], id="array for a job"),
        pytest.param([[None]], [[None]], id="nothing for a job"),
        pytest.param([[1.5]], [[1]], id="number for a job"),
    ],
)
def test_rows_of_holding_are_checked_like_columns(jobs: Any, attempts: Any) -> None:
    with pytest.raises(ProtocolError):
        from_values([Inventory.tag, [C], jobs, attempts])


def test_rows_of_standing_are_checked() -> None:
    accepted = []
    for row in ([], ["x"], ROW[:-1], [None] * 9, [*ROW[:3], "4", *ROW[4:]], [*ROW[:6], -1, 0, 0]):
        try:
            from_values([Status.tag, C, 1, [row], 0, []])
        except ProtocolError:
            continue
        accepted.append(row)
    assert accepted == []


def test_refusal_names_the_field_and_not_its_content() -> None:
    with pytest.raises(ProtocolError) as caught:
        from_values([14, C, "secretive"])
    assert str(caught.value) == "Recall.count is not what it must be"


# Payloads


def test_memory_payload_reads_across_its_parts() -> None:
    payload = MemoryPayload([b"abc", b"", bytearray(b"defg"), memoryview(b"h")])
    assert payload.size == 8
    whole, offset = b"", 0
    while piece := payload.read(offset, 2):
        whole += bytes(piece)
        offset += len(piece)
    assert whole == b"abcdefgh"
    assert b"".join(payload.parts()) == b"abcdefgh"


def test_parts_of_a_memory_payload_are_not_copied() -> None:
    data = bytearray(b"abc")
    [part] = MemoryPayload([data]).parts()
    part[0:1] = b"A"
    assert data == b"Abc"


def test_memory_payload_of_nothing_is_empty() -> None:
    assert MemoryPayload([]).size == 0
    assert b"".join(MemoryPayload([b""]).parts()) == b""


def test_bulk_size_is_that_of_either_kind() -> None:
    assert (bulk_size(b"abc"), bulk_size(Announced(7))) == (3, 7)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e300, -1e301, 1, True, "", None])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_column_of_numbers_holds_none_that_is_no_number(wrong: Any, place: int) -> None:
    good = [0.0, -5e299, 9e299]
    assert is_number_column(good) and is_number_column([]) and is_number_column([9e299] * COLUMN_LIMIT)
    assert not is_number_column([*good[:place], wrong, *good[place:]])
    assert not is_number_column([wrong])


def test_a_column_of_texts_holds_none_that_is_too_long() -> None:
    good = ["", "a" * TEXT_LIMIT]
    assert is_text_column(good) and is_text_column([])
    assert not is_text_column([*good, "a" * (TEXT_LIMIT + 1)])
    assert not is_text_column(["a", b"a"])
    assert not is_text_column(("a",))
