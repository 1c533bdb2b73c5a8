"""What a message cannot hold: it is brought within the limits by who sends it, and the other side takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdispy.errors import InternalError
from gdispy.protocol import field_checks
from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.job_status import NODE_EVENTS
from gdispy.protocol.limits import (
    BATCH_STREAMS,
    COLUMN_LIMIT,
    COUNT_LIMIT,
    CPUS_LIMIT,
    DATE_LIMIT,
    MESSAGE_LIMIT,
    PAYLOAD_LIMIT,
    TEXT_LIMIT,
    file_date,
    shortened,
)
from gdispy.protocol.messages import (
    ALL,
    NO_LIMIT,
    Accepted,
    Cancel,
    Ended,
    Event,
    FileContents,
    Hello,
    Inventory,
    Message,
    NodeCommand,
    Notice,
    Open,
    OutcomesAcked,
    Prepare,
    Prepared,
    ProgressAcked,
    Recall,
    Resume,
    Returned,
    Run,
    Started,
    Status,
    Unknown,
    Upload,
)
from gdispy.protocol.payload import MemoryPayload, Payload
from gdispy.protocol.rows import JobOptions
from gdispy.protocol.splitting import fitted
from gdispy.protocol.wire import WINDOW, Bye, FilePayload, MemorySink, Receiver, Sender
from tests.unit.builders import C, D

KEY = bytes(range(32))


class File(FilePayload, MemoryPayload):
    """A file, in memory."""

    __slots__ = ()


def file(size: int) -> Payload:
    return File([b"x" * size])


MANY = COLUMN_LIMIT + 4_464


def carried(*messages: Message) -> list[Any]:
    """What the other side of a connection takes these for. Raises what it raises."""
    sender = Sender(KEY)
    receiver = Receiver(KEY, lambda size, purpose: MemorySink())
    found: list[Message | Bye] = []
    for message in messages:
        sender.put(message)
    while frames := sender.frames():
        for frame in frames:
            found += receiver.receive(frame)
        sender.credit(WINDOW)
    assert sender.backlog == 0 and sender._begun == 0
    return found


def joined(messages: list[Any], name: str) -> list[Any]:
    return [item for message in messages for item in getattr(message, name)]


def payload(size: int = 40_000) -> Payload:
    return MemoryPayload([bytes(size)])


# Any message with anything in it

TEXTS = st.sampled_from(
    ["", "name", "caf\udce9.csv", "\0\n", "x" * (TEXT_LIMIT + 1), "\udcff" * TEXT_LIMIT, "\U0001f600" * 9]
)
COUNTS = st.sampled_from([0, 1, COUNT_LIMIT - 1, COUNT_LIMIT, 1 << 63, 1 << 70, -1, -(1 << 70)])
#: Of what gdispy itself has counted.
OWN_COUNTS = st.sampled_from([0, 1, COUNT_LIMIT - 1])
NUMBERS = st.sampled_from([0.0, -86_400.0, 1.5, 1e300, -1e308, float("inf"), float("-inf"), float("nan")])
BULKS = st.one_of(st.sampled_from([b"", b"x" * 9]), st.builds(payload, st.sampled_from([0, 1, 100_000])))
FILES = st.tuples(TEXTS, COUNTS, NUMBERS, COUNTS, st.just(b"d" * 32)).map(list)
OPTIONS = st.tuples(
    *(st.sampled_from([b"", b"n" * 16]), NUMBERS, NUMBERS, COUNTS, COUNTS, BULKS, st.just([]), st.just([]), NUMBERS)
).map(list)


def rows(*columns: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.tuples(*columns).map(list), max_size=3)


#: Kinds whose numbers only gdispy makes.
OWN = (Accepted, Cancel, OutcomesAcked, Ended, Recall, Returned, Run, ProgressAcked, Started)


def values_of(check: field_checks.Check, length: int, own: bool) -> st.SearchStrategy[Any]:
    counts = OWN_COUNTS if own else COUNTS

    def column(items: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
        return st.lists(items, min_size=1, max_size=3).map(lambda some: (some * (length // len(some) + 1))[:length])

    found: dict[field_checks.Check, st.SearchStrategy[Any]] = {
        field_checks.is_text: TEXTS,
        field_checks.is_short_text: TEXTS,
        field_checks.is_cpus: counts,
        field_checks.is_status_column: column(st.sampled_from([8, 9, 10, 11])),
        field_checks.is_time_column: column(NUMBERS),
        field_checks.is_count: counts,
        field_checks.is_number: NUMBERS,
        field_checks.is_flag: st.booleans(),
        field_checks.is_bulk: BULKS,
        field_checks.is_instance: st.just(Instance(b"i" * 16)),
        field_checks.is_computation: st.just(C),
        field_checks.is_proof: st.just(b"p" * 96),
        field_checks.is_node_name: st.sampled_from([b"", b"n" * 16]),
        field_checks.is_text_column: column(TEXTS.filter(lambda text: len(text) < 100 or length < 100)),
        field_checks.is_count_column: column(counts),
        field_checks.is_number_column: column(NUMBERS),
        field_checks.is_flag_column: column(st.booleans()),
        field_checks.is_left_out_column: column(counts),
        field_checks.is_bulk_column: column(st.one_of(st.sampled_from([b"", b"x"]), st.builds(lambda: payload(1)))),
        field_checks.is_content_column: column(st.one_of(st.sampled_from([b"", b"x"]), st.builds(lambda: payload(1)))),
        field_checks.is_computation_column: st.just([C, D][:length]),
        field_checks.is_column_list: st.just([[1] * length, [2]][:length]),
        field_checks.is_file_list: column(FILES.filter(lambda row: len(row[0]) < 100 or length < 100)),
        field_checks.is_option_column: column(st.one_of(st.none(), OPTIONS)),
        field_checks.is_availability: st.lists(NUMBERS, min_size=4, max_size=4),
        field_checks.is_claim_list: st.just([[C, b"t" * 16, 1 << 70]]),
        field_checks.is_node_list: rows(TEXTS, TEXTS, *[COUNTS] * 4, NUMBERS, COUNTS, COUNTS),
        field_checks.is_node_overview: rows(TEXTS, TEXTS, *[COUNTS] * 3, st.booleans()),
        field_checks.is_usage: rows(TEXTS, TEXTS, COUNTS, COUNTS, COUNTS, NUMBERS),
        field_checks.is_running_jobs: rows(st.just(C), *[COUNTS] * 2, *[NUMBERS] * 2, COUNTS, *[TEXTS] * 4),
        field_checks.is_log_positions: rows(st.just(b"t" * 16), COUNTS),
        field_checks.is_log_rows: rows(st.just(b"t" * 16), COUNTS, NUMBERS, TEXTS, TEXTS, TEXTS),
        field_checks.is_computation_overview: rows(TEXTS, TEXTS, TEXTS, COUNTS, COUNTS),
    }
    return found[check]


ROW: list[Any] = ["name", "10.0.0.1", 1, 2, 3, 4, 5.0, 6, 7]
#: Fields that gdispy itself fills, or checks where users give them.
OWN_FIELDS: dict[type[Message], dict[str, st.SearchStrategy[Any]]] = {
    Open: {"nodes": st.lists(st.sampled_from(["*", "lab*:51348", "10.0.0.1"]), max_size=3)},
    NodeCommand: {"value": st.sampled_from([0.0, -1.0, 1.0, float(NO_LIMIT)])},
    Upload: {"files": st.just([["a", 0, 0.0, 1, b"d" * 32]]), "contents": st.just([b"x"])},
    Event: {"what": st.sampled_from(sorted(NODE_EVENTS)), "rows": st.just([ROW])},
}


def messages_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    # More than a column holds, where they may come in several messages; else that was refused where it was given.
    lengths = [1, 3, 5_000] + ([MANY] if kind.parts or kind in (Inventory, Resume) else [])

    def of_length(length: int) -> st.SearchStrategy[Message]:
        fields = [values_of(check, length, kind in OWN) for check in kind.shape]
        if "contents" in kind.__match_args__:
            place = kind.__match_args__.index("contents")
            fields[place] = fields[place].map(lambda some: [file(1) if each else each for each in some])
        for name, values in OWN_FIELDS.get(kind, {}).items():
            fields[kind.__match_args__.index(name)] = values
        return st.builds(kind, *fields)

    return st.sampled_from(lengths).flatmap(of_length)


@pytest.mark.parametrize("kind", ALL)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(data=st.data())
def test_whatever_is_sent_is_taken(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages_of(kind))
    found = carried(message)
    assert found and {type(each) for each in found} == {kind}
    for name in kind.parts if kind is not Resume else ():  # There a computation may be named several times.
        assert len(joined(found, name)) == len(getattr(message, name))


# Texts


def test_text_that_is_too_long_keeps_its_first_and_its_last_part_and_says_so() -> None:
    text = "first line\n" + "x" * 3_000_000 + "\nlast line"
    [found] = carried(Prepared(C, text))
    assert len(found.error) == TEXT_LIMIT
    assert found.error.startswith("first line\nxxx") and found.error.endswith("xxx\nlast line")
    assert "[... 3,000,021 characters, of which the middle was left out ...]" in found.error


@pytest.mark.parametrize("limit", [1, 3, 100, 255, 1000])
def test_shortened_text_is_as_long_as_it_may_be(limit: int) -> None:
    assert shortened("x" * limit, limit) == "x" * limit
    assert len(shortened("x" * 2000, limit)) <= limit


def test_text_that_is_no_utf_8_is_written_as_python_would() -> None:
    assert carried(Notice(C, "no data in caf\udce9.csv")) == [Notice(C, "no data in caf\\udce9.csv")]


def test_exceptions_of_a_batch_that_are_too_long_together_come_in_several_messages() -> None:
    jobs = [JobId(number) for number in range(1, 101)]
    none, empty = [0] * 100, [b""] * 100
    times = [1.0] * 100
    texts = [f"{number}" + "x" * (TEXT_LIMIT - 10) for number in jobs]
    ended = Ended(C, jobs, [1] * 100, [9] * 100, empty, empty, empty, texts, times, times, none, [False] * 100, "")
    assert sum(map(len, texts)) > MESSAGE_LIMIT
    found = carried(ended)
    assert len(found) > 1 and joined(found, "jobs") == jobs and joined(found, "exceptions") == texts


def test_texts_of_one_message_that_are_too_long_together_are_shortened() -> None:
    problems = ["x" * TEXT_LIMIT] * 80
    [found] = carried(Status(C, 1, [], 0, problems))
    assert len(found.problems) == 80 and all("left out" in text for text in found.problems)


# Numbers


def test_numbers_become_the_nearest_that_can_travel() -> None:
    ours = ("node", Instance(b"i" * 16), "host", "0.1.0", "3.11", "linux")
    assert carried(Hello(*ours, 1 << 70, "", float("nan"))) == [Hello(*ours, CPUS_LIMIT, "", 0.0)]
    [found] = carried(Hello(*ours, -4, "", float("inf")))
    assert found.cpus == 0 and 9.9e299 < found.pulse < 1e300


@pytest.mark.parametrize(
    ("date", "is_sent"),
    [(-86_400.0, 0.0), (1.5, 1.5), (float("nan"), 0.0), (float("inf"), DATE_LIMIT - 1.0), (1e15, DATE_LIMIT - 1.0)],
)
def test_date_of_a_file_that_no_message_holds_becomes_the_nearest(date: float, is_sent: float) -> None:
    assert file_date(date) == is_sent
    row = ["old.txt", 0o644, date, 0, b"d" * 32]
    [found] = carried(Prepare(C, "f", "function", "", "", "", True, b"", [row], [payload(0)]))
    assert found.files == [["old.txt", 0o644, is_sent, 0, b"d" * 32]]


# Many jobs, many payloads


def test_jobs_of_several_messages_are_all_said_in_their_order() -> None:
    jobs = [JobId(number) for number in range(70_000)]
    found = carried(Cancel(C, jobs, [0] * 70_000))
    assert [len(each.jobs) for each in found] == [65_536, 4_464]
    assert joined(found, "jobs") == jobs
    assert joined(carried(Accepted(C, jobs)), "jobs") == jobs


def test_only_the_first_of_several_messages_says_what_is_said_once() -> None:
    found = carried(Unknown(C, [JobId(1)] * MANY, True))
    assert [each.all for each in found] == [True, False]


def test_jobs_with_a_payload_each_come_in_several_messages() -> None:
    jobs = [JobId(number) for number in range(5_000)]
    arguments = [payload(8) for _ in jobs]
    found = carried(Run(C, jobs, [1] * 5_000, list(arguments)), OutcomesAcked(C, [JobId(1)], [1]))
    runs = [each for each in found if isinstance(each, Run)]
    assert [len(each.jobs) for each in runs] == [BATCH_STREAMS] * 4 + [904]
    assert joined(runs, "jobs") == jobs and all(value.size == 8 for value in joined(runs, "arguments"))


def test_jobs_with_several_payloads_each_are_divided_by_their_payloads() -> None:
    options = [
        JobOptions(b"", 0.0, 0.0, 0, 0, b"", [["f", 0, 0.0, 1, b""]] * 300, [payload(1)] * 300, 0.0) for _ in range(9)
    ]
    found = carried(Run(C, [JobId(1)] * 9, [1] * 9, [b""] * 9, list(options)))
    assert [len(each.jobs) for each in found] == [3, 3, 3]


class Large(MemoryPayload):
    """Says that it has so many bytes, and has none."""

    def __init__(self, size: int) -> None:
        self.size = size


def test_jobs_with_large_arguments_are_divided_by_their_bytes() -> None:
    """All payloads of a message may arrive before it does: no more than the other side keeps for that."""
    sizes = [4 << 20] * 150
    run = Run(C, [JobId(number) for number in range(150)], [1] * 150, [Large(size) for size in sizes])
    found = fitted(run)
    assert [len(each.jobs) for each in found] == [16] * 9 + [6]
    assert joined(found, "jobs") == run.jobs
    # One that is larger is alone.
    run = Run(C, [JobId(1), JobId(2), JobId(3)], [1] * 3, [Large(1), Large(1 << 30), Large(1)])
    assert [each.jobs for each in fitted(run)] == [[1], [2], [3]]


def test_files_that_a_node_lacks_come_in_several_messages() -> None:
    found = carried(FileContents(C, list(range(4_200)), [payload(1) for _ in range(4_200)]))
    assert [len(each.places) for each in found] == [1024] * 4 + [104]


def test_computation_of_as_many_files_as_a_column_holds_is_one_message() -> None:
    row = ["f", 0o644, 0.0, 1, b"d" * 32]
    prepare = Prepare(C, "f", "function", "", "", "", True, b"", [row] * COLUMN_LIMIT, [file(1)] * COLUMN_LIMIT)
    [found] = carried(prepare)
    assert len(found.contents) == COLUMN_LIMIT


def test_files_that_no_column_holds_are_not_left_out_without_a_word() -> None:
    row = ["f", 0o644, 0.0, 1, b"d" * 32]
    with pytest.raises(InternalError, match=r"Prepare\.files"):
        fitted(Prepare(C, "f", "function", "", "", "", True, b"", [row] * MANY, [b""] * MANY))


def test_no_stream_begins_while_too_many_wait_for_their_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("gdispy.protocol.wire",):
        monkeypatch.setattr(f"{module}.PAYLOAD_LIMIT", 4)
    assert PAYLOAD_LIMIT > 4
    sender = Sender(KEY)
    receiver = Receiver(KEY, lambda size, purpose: MemorySink())
    for number in range(200):
        sender.put(Notice(C, "x" * 60_000))
        sender.put(Run(C, [JobId(number)], [1], [payload(1)]))
    found: list[Any] = []
    while frames := sender.frames():
        for frame in frames:
            found += receiver.receive(frame)  # It refuses a fifth.
        sender.credit(WINDOW)
    assert sum(isinstance(each, Run) for each in found) == 200


@pytest.mark.parametrize(
    ("message", "rows_of"),
    [
        (Resume([C, D], [[JobId(number) for number in range(70_000)], [JobId(1)]]), Resume.wanted),
        (Inventory([D, C], [[], [JobId(number) for number in range(70_000)]], [[], [1] * 70_000]), Inventory.held),
    ],
)
def test_jobs_of_one_computation_may_take_several_rows(message: Any, rows_of: Callable[[Any], Any]) -> None:
    [found] = carried(message)
    assert len(found.computations) == 3
    assert rows_of(found) == rows_of(message)


def test_rows_of_what_has_ended_stay_with_their_computation() -> None:
    ended = [JobId(number) for number in range(66_000)]
    message = Inventory([C, D], [ended, [JobId(1)]], [[1] * 66_000, [1]], [ended, []])
    [found] = carried(message)
    told = [
        job for computation, row in zip(found.computations, found.ended, strict=True) if computation == C for job in row
    ]
    assert told == ended and found.held() == message.held()
