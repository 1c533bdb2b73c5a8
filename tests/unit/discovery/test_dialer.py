"""What a dialer reports, and when it expects its node no more. Routes and pauses: `test_node_finder.py`."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.discovery import dialer as module
from gdispy.discovery.dialer import IMPATIENT_AFTER, MOVED_AFTER, ROUTE_LIMIT, Dialer
from gdispy.discovery.route import Route
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.net import RelayAddress
from gdispy.protocol.texts import GIVEN_UP
from gdispy.transport.connection import CONNECTED

FIRST, SECOND = Route("10.0.0.9", 51348), Route("192.0.2.9", 51348)
RELAYED = Route("10.2.0.9", 51348, RelayAddress("10.2.0.2", 51349, bytes(32)))


def connection(instance: bytes = b"i" * 16, quiet: float = 0.0) -> Any:
    aborted: list[str] = []
    return SimpleNamespace(instance=instance, quiet=quiet, stuck=False, aborted=aborted, abort=aborted.append)


class Owner:
    """A scheduler and its node finder; attempts to connect have these outcomes."""

    instance = b"o" * 16

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.opened: list[tuple[Route, float]] = []
        self.reports: list[tuple[str, str]] = []
        self.connected: dict[bytes, Any] = {}
        self.waiting: list[tuple[bytes, Any]] = []
        self.forgotten: list[Dialer] = []
        self.reason = "the connection broke"
        self.later: list[tuple[Any, ...]] = []
        self.ended = 0
        silent = SimpleNamespace(kill=self._end)
        monkeypatch.setattr(module, "keep_running", lambda *_, what: silent)
        monkeypatch.setattr(module, "spawn_later", lambda *args, what: self.later.append(args) or silent)

    def _end(self, block: bool) -> None:
        self.ended += 1

    def dialer(self, *routes: Route, instance: bytes = b"") -> Any:
        dialer: Any = Dialer(self, self, list(routes or [FIRST]), instance, "worker")  # type: ignore[arg-type]
        dialer._impatient = SimpleNamespace(kill=self._end)
        return dialer

    def open(self, route: Route, limit: float, small: bool) -> Any:
        self.opened.append((route, limit))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def take(self, connection: Any, dialer: Dialer) -> None:
        dialer.closed(self.reason)

    def connection_to(self, instance: bytes) -> Any:
        return self.connected.get(instance)

    def report(self, place: str, text: str) -> None:
        self.reports.append((place, text))

    def forget(self, dialer: Dialer) -> None:
        self.forgotten.append(dialer)

    def wait_for_end(self, instance: bytes, connection: Any) -> None:
        self.waiting.append((instance, connection))


def test_node_that_is_connected_already_keeps_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = connection(), connection(quiet=MOVED_AFTER - 0.1)
    owner = Owner(monkeypatch, new)
    owner.connected[b"i" * 16] = old
    assert owner.dialer()._attempt() == (True, "")
    assert new.aborted == [CONNECTED] and owner.waiting == [(b"i" * 16, old)]
    assert owner.reports == [(FIRST.place, "")]


def test_connection_from_a_new_address_is_used_if_the_node_is_silent_on_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new = connection()
    owner = Owner(monkeypatch, new)
    owner.connected[b"i" * 16] = connection(quiet=MOVED_AFTER)
    assert owner.dialer()._attempt() == (True, "the connection broke")
    assert new.aborted == [] and owner.waiting == []


def test_refusal_is_permanent_when_it_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(monkeypatch, *2 * [PeerRejected("the secrets differ")], ConnectFailed("gone"))
    dialer = owner.dialer()
    found = []
    for _ in range(3):
        assert not dialer._attempt()[0]
        found.append(dialer.rejected)
    assert found == [False, True, False]


def test_refusal_at_an_address_that_was_a_node_is_not_permanent(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(monkeypatch, *3 * [PeerRejected("the secrets differ")])
    dialer = owner.dialer()
    dialer._proven = True
    for _ in range(3):
        dialer._attempt()
        assert not dialer.rejected


def test_node_that_was_given_up_is_rejected_until_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(monkeypatch, connection(), connection())
    dialer = owner.dialer()
    owner.reason = f"{GIVEN_UP}: too many failures"
    dialer._attempt()
    assert dialer.rejected
    owner.reason = "the connection broke"
    dialer._attempt()
    assert not dialer.rejected


def test_time_for_a_route_is_limited_if_there_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.config, "msg_timeout", lambda: 7.0)
    owner = Owner(monkeypatch, *3 * [ConnectFailed("gone")])
    owner.dialer(FIRST)._attempt()
    owner.dialer(FIRST, SECOND)._attempt()
    assert owner.opened == [(FIRST, 7.0), (FIRST, ROUTE_LIMIT), (SECOND, ROUTE_LIMIT)]


def test_announced_address_that_does_not_work_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    owner = Owner(monkeypatch, *2 * [ConnectFailed("no answer"), connection()])
    dialer = owner.dialer(SECOND, FIRST)
    dialer._attempt()
    dialer.routes = [SECOND, FIRST]
    dialer._attempt()
    (record,) = caplog.records
    assert record.getMessage() == (
        "the node worker announces an address that does not work: 192.0.2.9:51348: no answer. Connected to "
        "10.0.0.9:51348 instead"
    )


def test_address_behind_a_relay_need_not_work_directly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    dialer = Owner(monkeypatch, ConnectFailed("no route"), connection()).dialer(Route("10.2.0.9", 51348), RELAYED)
    assert dialer._attempt()[0] and dialer.route == RELAYED
    assert caplog.records == []


def test_new_routes_come_first_and_old_ones_are_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dialer = Owner(monkeypatch).dialer(FIRST, RELAYED)
    dialer.learn([SECOND, FIRST])
    assert dialer.routes == [SECOND, FIRST, RELAYED]
    many = [Route("10.0.1.9", number) for number in range(1, 9)]
    dialer.learn(many)
    assert dialer.routes == many[: module.ROUTES]


def test_first_attempt_that_takes_long_is_reported_with_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(monkeypatch, connection())
    dialer = owner.dialer()

    class Over(Exception):
        pass

    def pause(seconds: float) -> None:
        raise Over

    monkeypatch.setattr(dialer, "_pause", pause)
    with pytest.raises(Over):
        dialer._run()
    ((wait, report, place, text),) = owner.later
    assert (wait, report, place) == (IMPATIENT_AFTER, owner.report, FIRST.place)
    assert text == "no answer yet: is TCP 51348 open in its firewall, and does no other program listen there?"
    assert owner.ended > 1


@pytest.mark.parametrize("instance", [b"", b"i" * 16])
def test_node_that_the_user_has_named_is_never_forgotten(instance: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(monkeypatch)
    dialer = owner.dialer(instance=instance)
    left = [(False, "gone")] * 50

    def attempt() -> tuple[bool, str]:
        if not left:
            raise StopIteration
        return left.pop()

    monkeypatch.setattr(dialer, "_attempt", attempt)
    monkeypatch.setattr(dialer, "_pause", lambda seconds: None)
    if instance:
        dialer._run()
        assert owner.forgotten == [dialer] and len(left) == 50 - module.FORGET_AFTER - 1
    else:
        with pytest.raises(StopIteration):
            dialer._run()
        assert owner.forgotten == []


def test_stopped_dialer_reports_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(monkeypatch)
    owner.dialer().stop()
    assert owner.ended == 2
