"""Strangers: few places, the longest wait gives way, and answers are rationed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gdispy.core.admission import BURST, MEMORY, PLACES, PLACES_EACH, RATE, Admission


def test_stranger_has_a_place_while_there_are_some() -> None:
    admission = Admission(places=3, places_each=3)
    assert [admission.arrive(number, f"a{number}") for number in range(3)] == [[], [], []]


def test_longest_waiting_stranger_gives_way_when_all_places_are_taken() -> None:
    admission = Admission(places=3, places_each=3)
    for number in range(3):
        admission.arrive(number, f"a{number}")
    assert admission.arrive(3, "a3") == [0]
    assert admission.arrive(4, "a4") == [1]


def test_longest_waiting_stranger_of_the_same_address_gives_way_when_its_places_are_taken() -> None:
    admission = Admission(places=10, places_each=2)
    admission.arrive(0, "other")
    admission.arrive(1, "crowd")
    admission.arrive(2, "crowd")
    assert admission.arrive(3, "crowd") == [1]
    assert admission.arrive(4, "other") == []


def test_place_of_who_leaves_is_free_again() -> None:
    admission = Admission(places=1, places_each=1)
    admission.arrive(0, "a")
    admission.leave(0)
    assert admission.arrive(1, "b") == []


def test_leaving_twice_does_no_harm() -> None:
    admission = Admission()
    admission.arrive(0, "a")
    admission.leave(0)
    admission.leave(0)


def test_crowd_from_one_address_leaves_places_to_others() -> None:
    admission = Admission()
    for number in range(1000):
        admission.arrive(number, "crowd")
    assert admission.arrive(1000, "honest") == []
    assert PLACES_EACH < PLACES


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60))
def test_never_more_strangers_than_places(steps: list[tuple[int, bool]]) -> None:
    admission = Admission(places=4, places_each=2)
    here: dict[int, str] = {}
    for number, (address, leaves) in enumerate(steps):
        if leaves and here:
            gone = next(iter(here))
            admission.leave(gone)
            del here[gone]
        for other in admission.arrive(number, str(address)):
            del here[other]
        here[number] = str(address)
        assert len(here) <= 4
        assert all(list(here.values()).count(each) <= 2 for each in here.values())


def test_answers_are_rationed_for_each_address() -> None:
    admission = Admission()
    assert [admission.may_answer("a", 5.0) for _ in range(BURST + 2)] == [True] * BURST + [False, False]
    assert admission.may_answer("b", 5.0)


def test_tokens_come_back_with_time_and_never_beyond_the_burst() -> None:
    admission = Admission()
    for _ in range(BURST):
        admission.may_answer("a", 0.0)
    assert not admission.may_answer("a", 0.5 / RATE)
    assert admission.may_answer("a", 1.6 / RATE)
    assert sum(admission.may_answer("a", 1e6) for _ in range(2 * BURST)) == BURST


def test_token_of_an_honest_peer_comes_back_at_once() -> None:
    admission = Admission()
    for _ in range(10 * BURST):
        assert admission.may_answer("a", 0.0)
        admission.was_honest("a")


def test_honesty_of_an_unknown_address_is_ignored() -> None:
    Admission().was_honest("a")


def test_addresses_remembered_are_limited() -> None:
    admission = Admission()
    for number in range(MEMORY + 100):
        admission.may_answer(str(number), 0.0)
    assert len(admission._buckets) == MEMORY
