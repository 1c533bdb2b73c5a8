"""When a node announces itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from gdispy.discovery import announcer as module
from gdispy.discovery import scheduler_connector
from gdispy.discovery.announcer import MOMENTS, Announcer
from gdispy.discovery.scheduler_connector import SchedulerConnector
from gdispy.execution.node_settings import NodeSettings
from gdispy.protocol.discovery import LOOK, Packet
from gdispy.protocol.texts import BUSY
from gdispy.transport.credentials import Secret


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


def tell_when_free(busy: list[bool], monkeypatch: pytest.MonkeyPatch, again: int = 0) -> tuple[int, list[float]]:
    """Let a node become free, and again while it tells; how often it told, and the pauses behind that."""
    told: list[None] = []
    pauses: list[float] = []

    class Freed:
        is_set = True
        left = again

        def wait(self, seconds: float | None = None) -> bool:
            if seconds is None and not self.is_set:
                raise Over
            if seconds and self.left:
                self.left -= 1
                self.is_set = True
            return self.is_set

        def clear(self) -> None:
            self.is_set = False

    announcer: Any = SimpleNamespace(_freed=Freed(), _broadcast=lambda: told.append(None))
    announcer._home = SimpleNamespace(is_busy=lambda: busy.pop(0) if busy else False)
    monkeypatch.setattr(module.gevent, "sleep", pauses.append)
    with pytest.raises(Over):
        Announcer._tell_when_free(announcer)
    return len(told), pauses


def test_node_that_becomes_free_says_so_until_somebody_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tell_when_free([], monkeypatch) == (len(MOMENTS), [module.FREE_INTERVAL])
    assert tell_when_free([False, False, True], monkeypatch) == (2, [module.FREE_INTERVAL])


def test_node_that_becomes_free_again_and_again_says_so_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    told, pauses = tell_when_free([], monkeypatch, again=3)
    assert pauses == 4 * [module.FREE_INTERVAL]
    assert told == 3 + len(MOMENTS)


def test_a_caller_whose_node_works_for_another_program_waits_until_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[None] = []
    monkeypatch.setattr(
        scheduler_connector, "connect", lambda *args, **ways: calls.append(None) or SimpleNamespace(stuck=False)
    )
    home: Any = SimpleNamespace(handlers=lambda: None)
    home.use = lambda connection, caller: caller.closed(f"{BUSY}in use by another")
    caller = SchedulerConnector(home, Secret(bytes(32), ""), ("127.0.0.1", 1), "")
    caller.start()
    try:
        for number in range(1, 4):
            gevent.idle()
            gevent.idle()
            assert len(calls) == number
            caller.wake()
    finally:
        caller.close()
