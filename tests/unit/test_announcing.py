"""When a node announces itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gdispy import announcer as module
from gdispy.announcer import MOMENTS, Announcer
from gdispy.core.discovery import LOOK, Packet
from gdispy.keys import Secret
from gdispy.node_settings import NodeSettings


class Over(Exception):
    pass


def announce(interval: float, used: list[bool], monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], int]:
    """Let a node announce itself, used or not after each pause; the pauses it made, and how often it did."""
    pauses: list[float] = []
    told: list[Any] = []
    connections: list[Any] = []
    announcer: Any = SimpleNamespace(_settings=NodeSettings(Secret(bytes(32), ""), 1, ping_interval=interval))
    announcer._home = SimpleNamespace(connections=lambda: connections)
    announcer._broadcast = lambda: told.append(None)
    announcer._tell_now = lambda: Announcer._tell_now(announcer)

    def pause(seconds: float) -> None:
        if not used:
            raise Over
        pauses.append(seconds)
        connections[:] = [None] if used.pop(0) else []

    monkeypatch.setattr(module.gevent, "sleep", pause)
    try:
        Announcer._tell(announcer)
    except Over:
        return pauses, len(told)
    assert not interval
    return pauses, len(told)


def test_node_that_starts_announces_itself_a_few_times_since_packets_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, times = announce(0.0, [False] * 9, monkeypatch)
    assert times == len(MOMENTS)
    assert sum(pauses) == pytest.approx(MOMENTS[-1])


def test_node_that_is_used_says_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert announce(0.0, [False, False, True, True], monkeypatch)[1] == 2


def test_node_repeats_its_announcement_while_nobody_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [False] * len(MOMENTS)
    pauses, times = announce(10.0, [*first, False, True, True, False], monkeypatch)
    assert pauses[len(MOMENTS) :] == [10.0] * 4
    assert times == len(MOMENTS) + 2


def test_schedulers_that_are_to_be_called_back_are_bounded_and_each_is_once(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[Any] = []
    monkeypatch.setattr(module, "spawn_later", lambda *args, what: later.append(args))
    settings = NodeSettings(Secret(bytes(32), ""), 1)
    announcer: Any = SimpleNamespace(_settings=settings, _name="", _port=1, _due=set(), _call=None)
    beacon: Any = SimpleNamespace(tell=lambda *args: None)
    for number in range(3 * module.DUE):
        packet = Packet(LOOK, (number // 2).to_bytes(16, "big"), 0.0, 51347, "", "")
        Announcer._on_packet(announcer, beacon, packet, ("127.0.0.1", 9))
    assert len(later) == len({each[2] for each in later}) == module.DUE
