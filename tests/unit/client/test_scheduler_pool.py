"""Schedulers that clusters share."""

from __future__ import annotations

from typing import Any

from gdispy.client.scheduler_pool import LocalSchedulerKey, SchedulerPool, SharedSchedulerKey
from gdispy.transport.credentials import Secret

SECRET = Secret(bytes(32), "")


class Made:
    """A scheduler, and what was asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda: self.calls.append(name)


class Key:
    """As a key of a scheduler: equal ones make one."""

    def __init__(self, name: str) -> None:
        self.name, self.place = name, ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def make(self, secret: Secret) -> Made:
        return Made()


def test_clusters_with_equal_settings_share_a_scheduler_until_the_last_has_left() -> None:
    pool: Any = SchedulerPool()
    one, two = object(), object()
    scheduler = pool.join(Key("a"), SECRET, one)
    assert pool.join(Key("a"), SECRET, two) is scheduler and scheduler.calls == ["start"]
    pool.leave(Key("a"), one)
    assert scheduler.calls == ["start"]
    pool.leave(Key("a"), two)
    assert scheduler.calls == ["start", "close"]
    assert pool.join(Key("a"), SECRET, one) is not scheduler


def test_other_settings_have_another_scheduler() -> None:
    pool: Any = SchedulerPool()
    assert pool.join(Key("a"), SECRET, 1) is not pool.join(Key("b"), SECRET, 2)


def test_forked_child_closes_its_copies_and_knows_of_none() -> None:
    pool: Any = SchedulerPool()
    pool.abandon_in_child(Key("a"))
    scheduler = pool.join(Key("a"), SECRET, 1)
    pool.abandon_in_child(Key("a"))
    assert scheduler.calls == ["start", "abandon_in_child"]


def test_keys_say_where_the_scheduler_is() -> None:
    assert LocalSchedulerKey(b"", "", "", 1, None, None, (False, None), False).place == ""
    assert SharedSchedulerKey("lab", 51347, b"", "", (False, None)).place == "lab:51347"
