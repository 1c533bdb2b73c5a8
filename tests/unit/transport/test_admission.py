"""Strangers: few places, a crowd gives way before anybody else, and answers are rationed."""

from __future__ import annotations

import time
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gdispy.transport.admission import BURST, MEMORY, PLACES, RATE, Answers, Places


def test_stranger_has_a_place_while_there_are_some() -> None:
    places = Places(3, 3)
    assert [places.arrive(number, f"a{number}") for number in range(3)] == [None] * 3


def test_longest_waiting_of_the_crowd_gives_way_when_all_places_are_taken() -> None:
    places = Places(4, 4)
    for number, address in enumerate(("lonely", "crowd", "crowd", "other")):
        places.arrive(number, address)
    assert places.arrive(4, "new") == 1
    assert places.arrive(5, "crowd") in (2, None)


def test_longest_waiting_of_the_same_address_gives_way_when_its_places_are_taken() -> None:
    places = Places(10, 2)
    places.arrive(0, "other")
    places.arrive(1, "crowd")
    places.arrive(2, "crowd")
    assert places.arrive(3, "crowd") == 1
    assert places.arrive(4, "other") is None


def test_place_of_who_leaves_is_free_again_and_leaving_twice_does_no_harm() -> None:
    places = Places(1, 1)
    places.arrive(0, "a")
    places.leave(0)
    places.leave(0)
    assert places.arrive(1, "b") is None and len(places) == 1


def test_crowds_from_a_few_addresses_never_make_a_single_one_give_way() -> None:
    places = Places()
    places.arrive(-1, "honest")
    losers = [places.arrive(number, f"crowd{number % 3}") for number in range(5 * PLACES)]
    assert -1 not in losers and losers.count(None) == PLACES - 1


def test_work_for_a_newcomer_does_not_grow_with_the_crowd() -> None:
    places = Places()
    began = time.process_time()
    for number in range(100_000):
        places.arrive(number, f"crowd{number % 7}")
    assert time.process_time() - began < 2


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60))
def test_never_more_strangers_than_places(steps: list[tuple[int, bool]]) -> None:
    places = Places(4, 2)
    here: dict[int, str] = {}
    for number, (address, leaves) in enumerate(steps):
        if leaves and here:
            gone = next(iter(here))
            places.leave(gone)
            del here[gone]
        loser = places.arrive(number, str(address))
        if loser is not None:
            del here[loser]
        here[number] = str(address)
        assert len(here) == len(places) <= 4
        assert max(Counter(here.values()).values()) <= 2


def test_answers_are_rationed_for_each_address() -> None:
    answers = Answers()
    assert [answers.may_answer("a", 5.0) for _ in range(BURST + 2)] == [True] * BURST + [False, False]
    assert answers.may_answer("b", 5.0)


def test_tokens_come_back_with_time_and_never_beyond_the_burst() -> None:
    answers = Answers()
    for _ in range(BURST):
        answers.may_answer("a", 0.0)
    assert not answers.may_answer("a", 0.5 / RATE)
    assert answers.may_answer("a", 1.6 / RATE)
    assert sum(answers.may_answer("a", 1e6) for _ in range(2 * BURST)) == BURST


def test_token_of_an_honest_peer_comes_back_at_once() -> None:
    answers = Answers()
    for _ in range(10 * BURST):
        assert answers.may_answer("a", 0.0)
        answers.give_back("a")


def test_honesty_of_an_unknown_address_is_ignored() -> None:
    Answers().give_back("a")


def test_addresses_remembered_are_limited() -> None:
    answers = Answers()
    for number in range(MEMORY + 100):
        answers.may_answer(str(number), 0.0)
    assert len(answers._buckets) == MEMORY
