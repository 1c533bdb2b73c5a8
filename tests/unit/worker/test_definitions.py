"""Identifiers of functions and classes that are sent by value."""

from __future__ import annotations

import gc
import sys
import types
from typing import Any

import pytest

from gdispy.worker import definitions as module
from gdispy.worker.definitions import IDENTIFIER_BYTES, Definitions, by_path
from tests.support.waiting import eventually


def function(number: int = 1) -> Any:
    names: dict[str, Any] = {"__name__": "program"}
    exec(f"def f():\n    return {number}", names)
    return names["f"]


def kind(number: int = 1) -> type:
    return type("K", (), {"number": number, "__module__": "program"})


@pytest.mark.parametrize("make", [function, kind])
def test_object_has_one_identifier_which_depends_on_its_contents(make: Any) -> None:
    known, one, other = Definitions(), make(1), make(2)
    assert known.identify(one) == known.identify(one) != known.identify(other)
    assert len(known.identify(one)) == IDENTIFIER_BYTES and known.find(known.identify(one)) is one


@pytest.mark.parametrize("make", [function, kind])
def test_equal_objects_have_identifiers_by_their_order_the_same_in_each_run(make: Any) -> None:
    runs = []
    for _ in range(2):
        known, objects = Definitions(), [make(), make()]
        runs.append([known.identify(each) for each in objects])
    assert runs[0] == runs[1] and runs[0][0] != runs[0][1]


def test_identifiers_of_a_worker_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    client, workers = Definitions(), [Definitions(), Definitions()]
    for each in workers:
        each.be_worker()
        assert each.is_worker
    objects = [function() for _ in range(4)]
    found = {known.identify(obj) for known, obj in zip([client, *workers], objects, strict=False)}
    assert len(found) == 3 and not client.is_worker
    monkeypatch.setattr(module.os, "getpid", lambda: -1 & 0xFFFF)  # In a process forked from it.
    assert workers[0].identify(objects[3]) not in found


def test_received_object_is_created_once_and_keeps_its_identifier() -> None:
    known, identifier = Definitions(), b"i" * 16
    made, is_new = known.receive(identifier, function)
    again, is_new_again = known.receive(identifier, lambda: pytest.fail("it was created again"))
    assert again is made and (is_new, is_new_again) == (True, False)
    assert known.identify(made) == identifier
    assert not known.is_own(made) and known.is_own(known.find(known.identify(own := function()))) and own


def test_objects_of_the_computation_are_settled_and_later_ones_are_not() -> None:
    known = Definitions()
    first, _ = known.receive(b"1" * 16, function)
    known.settle()
    second, _ = known.receive(b"2" * 16, function)
    assert known.is_settled(first) and not known.is_settled(second) and not known.is_settled(function())


def test_settled_objects_live_although_the_program_has_dropped_them() -> None:
    known = Definitions()
    # Held until then: a collection may come at any time.
    first, second = (known.receive(number * 16, make)[0] for number, make in ((b"1", function), (b"2", kind)))
    known.settle()
    known.receive(b"3" * 16, function)
    del first, second

    def is_collected() -> bool:
        gc.collect()  # It does nothing while another thread, of an earlier test, collects.
        return known.find(b"3" * 16) is None

    assert eventually(is_collected)
    assert known.find(b"1" * 16) is not None and known.find(b"2" * 16) is not None
    assert b"3" * 16 not in known.received


def test_sent_classes_are_kept_by_a_client_and_functions_are_not() -> None:
    known = Definitions()
    identifiers = [known.identify(kind()), known.identify(function())]
    gc.collect()
    assert known.find(identifiers[0]) is not None and known.find(identifiers[1]) is None


def test_address_of_an_object_that_is_gone_stands_for_no_other() -> None:
    known = Definitions()
    for number in range(200):
        made = function(number)
        known.identify(made)
        del made
    gc.collect()
    assert known._known == {}


def test_only_what_a_client_keeps_is_returned_by_its_identifier(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Definitions()
    monkeypatch.setattr(module, "definitions", known)
    returnable = module._Returnable()
    kept, _ = known.receive(b"k" * 16, kind)
    argument, _ = known.receive(b"f" * 16, function)
    assert b"k" * 16 in returnable and b"f" * 16 not in returnable and b"x" * 16 not in returnable
    known.settle()
    assert b"f" * 16 in returnable and kept is not argument


def test_sentinels_are_one_object_at_both_ends() -> None:
    sender, receiver = Definitions(), Definitions()
    mark = object()
    assert sender.identify_sentinel(mark, False) is None
    identifier = sender.identify_sentinel(mark, True)
    assert identifier is not None and sender.identify_sentinel(mark, False) == identifier
    arrived = receiver.receive_sentinel(identifier)
    assert receiver.receive_sentinel(identifier) is arrived is not mark
    assert receiver.identify_sentinel(arrived, False) == identifier
    assert sender.receive_sentinel(identifier) is mark
    assert sender.identify_sentinel(object(), True) != identifier


def test_globals_without_a_module_are_told_apart() -> None:
    known, one, other = Definitions(), function(), function()
    numbers = [known.number_of(each.__globals__, each) for each in (one, other, one)]
    assert numbers == [1, 2, 1]
    made = types.ModuleType("m")
    assert known.number_of(vars(made), made) == 3 == known.number_of(vars(made), made)
    address = id(other.__globals__)
    del other
    gc.collect()
    assert address not in known._unnamed


@pytest.mark.parametrize(
    ("path", "expected"), [("Definitions.identify", Definitions.identify), ("None", None), ("definitions.none.x", None)]
)
def test_object_of_a_loaded_module_is_found_by_its_path(path: str, expected: Any) -> None:
    assert by_path("gdispy.worker.definitions", path) is expected
    assert by_path("no_such_module", path) is None and "no_such_module" not in sys.modules
