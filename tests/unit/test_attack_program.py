"""The parts of the attack program that decide: what it sends, which attacks fit into its time, what it calls good."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gdispy.errors import ProtocolError
from gdispy.protocol.messages import ALL, Message, from_values
from gdispy.protocol.payload import MemoryPayload
from tests.attack.catalogue import every, remaining_time
from tests.attack.fuzz import kinds_of
from tests.attack.report import LEFT, STRANGERS_DESCRIPTORS, Row, missed, table
from tests.attack.values import Carried, Known, Values


def arrived(value: Any) -> Any:
    """A value as it arrives, with payloads in the place of references."""
    if isinstance(value, Carried):
        return MemoryPayload([value.data])
    return [arrived(each) for each in value] if isinstance(value, list) else value


def is_taken(values: list[Any]) -> bool:
    try:
        from_values(arrived(values))
    except ProtocolError:
        return False
    return True


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_of_each_kind_of_message_most_pass_the_checks_and_some_do_not(kind: type[Message]) -> None:
    """Those that do not pass end the connection: where most do not, nothing behind the checks is attacked."""
    known = Known([b"computat"], [b"of other"], [b"an instance here"], [(1, 1), (2, 1)])
    values = Values(random.Random(7), known)
    taken = [is_taken(values.message(kind)) for _ in range(100)]
    assert 50 < sum(taken) < 100


@pytest.mark.parametrize("role", ["client", "scheduler", "node", "visitor", "shared", "recoverer"])
def test_each_role_says_more_than_hello(role: str) -> None:
    assert len(kinds_of(role)) > 1


def test_what_was_heard_is_named_again() -> None:
    known = Known()
    known.learn([from_values([12, b"computat", [5, 6], [1, 2], [b"", b""], []])])
    assert known.computations == [b"computat"] and known.jobs == [(5, 1), (6, 2)]


def test_a_short_time_has_some_attacks_of_each_topic() -> None:
    all_of_them = every("", 1e6, random.Random(1), 2, 0.7)
    few = every("", 5.0, random.Random(1), 2, 0.7)
    assert {each.topic for each in few} == {each.topic for each in all_of_them}
    assert len(few) < len(all_of_them) // 3


def test_only_some_attacks() -> None:
    assert {each.topic for each in every("floods, replays", 1e6, random.Random(1), 2, 0.7)} == {"floods", "replays"}
    with pytest.raises(SystemExit, match="no attack"):
        every("nothing of that kind", 1e6, random.Random(1), 2, 0.7)


def test_time_is_shared_by_weight_and_never_less_than_the_least() -> None:
    attacks = every("", 1e6, random.Random(1), 2, 0.7)
    assert remaining_time(attacks, -5.0, 0.7) == attacks[0].least
    assert remaining_time(attacks[:1], 100.0, 0.7) == pytest.approx(99.3)


def row(**values: Any) -> Row:
    whole = {"descriptors": (10, 20, 10), "resident": (40_000_000,) * 3, "seconds": 5.0, "right": 9}
    return Row("wire", "an attack", "node", **{**whole, **values})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"accepted": 1}, "1 accepted"),
        ({"ends": 2}, "ended 2 times"),
        ({"wrong": 1}, "wrong results"),
        ({"lost": 3}, "3 honest jobs lost"),
        ({"breaks": 1}, "connections broken"),
        ({"newcomers": 50, "served": 48}, "2 of 50 newcomers"),
        ({"stood_still": True}, "stood still"),
        ({"resident": (40_000_000, 61_000_000, 40_000_000)}, "grew by 21 MB"),
        ({"descriptors": (10, 11 + STRANGERS_DESCRIPTORS, 10)}, "descriptors at once"),
        ({"descriptors": (10, 50, 11 + LEFT)}, "descriptors left"),
        ({"files": (0, LEFT + 1)}, "files left"),
    ],
)
def test_each_goal_that_is_missed_is_said(values: dict[str, Any], reason: str) -> None:
    made = row(**values)
    made.judge(by_strangers=True)
    assert len(made.reasons) == 1 and reason in made.reasons[0]
    assert missed([made]) and reason in table([made])


def test_an_attack_that_misses_no_goal_is_good() -> None:
    made = row(newcomers=100, served=99)
    made.judge(by_strangers=True)
    assert made.is_good and not missed([made])


def test_newcomers_of_all_floods_count_together() -> None:
    rows = [Row("floods", "silence", "node", newcomers=50, served=49) for _ in range(4)]
    for each in rows:
        each.judge(by_strangers=True)
    assert all(each.is_good for each in rows) and "196 of 200" in missed(rows)[0]
