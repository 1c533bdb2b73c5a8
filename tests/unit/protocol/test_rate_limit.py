"""How often an event of one key is reported. In a log: `test_limits.py`."""

from __future__ import annotations

from gdispy.protocol.rate_limit import INTERVAL, LogLimit


def test_event_is_admitted_once_in_an_interval_with_the_number_of_suppressed_ones() -> None:
    limit = LogLimit(10.0)
    assert [limit.admit("a", now) for now in (0.0, 1.0, 9.9, 10.0, 10.1, 20.0)] == [0, None, None, 2, None, 1]
    assert limit.admit("a", 100.0) == 0


def test_suppressed_events_do_not_prolong_the_interval() -> None:
    limit = LogLimit(10.0)
    for tenth in range(100):
        limit.admit("a", tenth / 10)
    assert limit.admit("a", 10.0) == 99


def test_keys_are_independent() -> None:
    limit = LogLimit()
    assert limit.admit("a", 5.0) == 0 == limit.admit("b", 5.0)
    assert limit.admit("a", 5.0 + INTERVAL) == 0


def test_key_that_was_not_used_for_longest_is_forgotten_first() -> None:
    limit = LogLimit(10.0, memory=2)
    for key in ("a", "b"):
        limit.admit(key, 0.0)
    limit.admit("a", 1.0)
    limit.admit("c", 1.0)
    assert limit.admit("a", 2.0) is None and limit.admit("b", 2.0) == 0
