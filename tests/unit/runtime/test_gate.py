"""Waiting for something that happens once, in threads and greenlets."""

from __future__ import annotations

import threading
from typing import Any

import gevent
import pytest

from gdispy.runtime.gate import Gate
from tests.support.waiting import eventually


def test_closed_gate_is_waited_at_no_longer_than_told() -> None:
    gate = Gate()
    assert gate.wait(0) is False and gate.wait(-1) is False and gate.wait(0.01) is False
    gate.open()
    assert gate.wait(0) is True and gate.wait() is True


@pytest.mark.parametrize("count", [1, 20])
def test_all_threads_that_wait_are_let_through(count: int) -> None:
    gate, through = Gate(), []
    threads = [threading.Thread(target=lambda: through.append(gate.wait(30)), daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(30)
    assert through == [True] * count


def test_greenlets_wait_without_holding_up_their_loop_and_are_opened_by_a_thread() -> None:
    gate, order = Gate(), []
    waiting = [gevent.spawn(lambda: order.append(gate.wait(30))) for _ in range(3)]
    gevent.spawn(order.append, "other").join()
    assert order == ["other"]
    thread = threading.Thread(target=gate.open)
    thread.start()
    assert len(gevent.joinall(waiting, timeout=30)) == 3
    thread.join()
    assert order == ["other", True, True, True]


def test_greenlet_whose_time_is_over_goes_on_and_the_others_still_wait() -> None:
    gate = Gate()
    short, long = gevent.spawn(gate.wait, 0.01), gevent.spawn(gate.wait, 30)
    assert short.get(timeout=30) is False and not long.ready()
    gate.open()
    assert long.get(timeout=30) is True


def test_wait_longer_than_a_lock_may_be_waited_for() -> None:
    gate = Gate()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(gate.wait(threading.TIMEOUT_MAX * 10)), daemon=True)
    thread.start()
    gate.open()
    thread.join(30)
    assert found == [True]


def test_who_wants_to_be_told_is_told_also_when_it_is_late_and_not_when_it_takes_that_back() -> None:
    gate, told = Gate(), []
    gate.tell(lambda: told.append("early"))
    forgotten = [lambda: told.append("never")]
    gate.tell(forgotten[0])
    gate.forget(forgotten[0])
    gate.forget(forgotten[0])
    gate.open()
    gate.tell(lambda: told.append("late"))
    assert told == ["early", "late"]


def test_opening_twice_is_as_once() -> None:
    gate = Gate()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(gate.wait(30)), daemon=True)
    thread.start()
    eventually(lambda: gate._wakers)
    gate.open()
    gate.open()
    thread.join(30)
    assert found == [True]
