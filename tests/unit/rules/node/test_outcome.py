"""Outcomes in messages of a size that the other side takes."""

from __future__ import annotations

from gdispy.protocol.messages import Ended
from gdispy.rules.node.outcome import MESSAGE_BYTES, MESSAGE_JOBS, Outcome, ended_message, portions
from tests.unit.builders import Announced, C, ended, outcome
from tests.unit.rules.node.building import of


def test_fields_of_an_outcome_are_the_columns_of_the_message_in_their_order() -> None:
    assert len(Outcome._fields) == len(Ended.columns)
    rows = [outcome(1, stdout=b"out"), outcome(2, stderr=b"err", exception="text")]
    assert ended_message(C, list(map(Outcome._make, rows))) == ended(*rows)


def test_few_short_outcomes_are_one_portion_and_none_are_none() -> None:
    rows = [of(number) for number in range(5)]
    assert portions(rows) == [rows]
    assert portions([]) == []


def test_outcomes_are_split_by_their_number_and_by_their_bytes() -> None:
    assert [len(each) for each in portions([of(n, result=b"") for n in range(MESSAGE_JOBS + 1)])] == [MESSAGE_JOBS, 1]
    large = [of(n, result=bytes(MESSAGE_BYTES // 3)) for n in range(5)]
    assert [len(each) for each in portions(large)] == [2, 2, 1]


def test_payloads_count_too_and_one_that_is_too_large_goes_alone() -> None:
    rows = [of(1), of(2, result=Announced(2 * MESSAGE_BYTES)), of(3)]
    assert [[each.job for each in part] for part in portions(rows)] == [[1], [2], [3]]


def test_payloads_of_an_outcome_are_given_back() -> None:
    values = Announced(1), Announced(1), Announced(1)
    of(1, result=values[0], stdout=values[1], stderr=values[2]).release()
    assert [each.released for each in values] == [1, 1, 1]
