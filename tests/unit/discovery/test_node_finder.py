"""What packets of discovery lead to: routes that make sense, tried in the right order, and no more than that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gdispy.discovery import dialer as dialing
from gdispy.discovery import node_finder as module
from gdispy.discovery.dialer import BUSY_LIMIT, REFUSED_LIMIT, ROUTES, Dialer
from gdispy.discovery.node_finder import FOUND_LIMIT, NodeFinder
from gdispy.discovery.route import Route, routes_of
from gdispy.errors import ConnectFailed
from gdispy.net import RelayAddress
from gdispy.protocol.discovery import HERE, RELAY, Packet
from gdispy.protocol.texts import BUSY
from gdispy.runtime import greenlets
from gdispy.transport import reconnect
from gdispy.transport.credentials import Secret
from gdispy.transport.interfaces import is_reachable

KEY = bytes(32)


def here(**fields: Any) -> Packet:
    values: dict[str, Any] = {
        "kind": HERE,
        "instance": b"i" * 16,
        "time": 1.0,
        "port": 51348,
        "address": "",
        "name": "n",
    }
    return Packet(**{**values, **fields})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("10.0.0.1", True),
        ("fe80::1%eth0", True),
        ("node.example", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("239.255.71.68", False),
        ("ff02::1", False),
        ("ff12::6764:6973%eth0", False),
    ],
)
def test_addresses_of_several_or_none_are_not_connected_to(host: str, expected: bool) -> None:
    assert is_reachable(host) is expected


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (here(), [Route("10.0.0.9", 51348)]),
        (here(address="192.0.2.1"), [Route("192.0.2.1", 51348), Route("10.0.0.9", 51348)]),
        (here(address="192.0.2.1:40001"), [Route("192.0.2.1", 40001), Route("10.0.0.9", 51348)]),
        (here(address="[fd00::1]:40001"), [Route("fd00::1", 40001), Route("10.0.0.9", 51348)]),
        (here(address="10.0.0.9"), [Route("10.0.0.9", 51348)]),
        (here(address="255.255.255.255"), [Route("10.0.0.9", 51348)]),
        (here(address="a:b"), [Route("10.0.0.9", 51348)]),
        (
            here(address="10.2.0.3:51348", via="10.2.0.2:51349"),
            [Route("10.2.0.3", 51348), Route("10.2.0.3", 51348, RelayAddress("10.2.0.2", 51349, KEY))],
        ),
        (here(address="10.2.0.3:51348", via="nonsense"), [Route("10.2.0.3", 51348)]),
        (here(address="10.2.0.3:51348", via="224.0.0.1:1"), [Route("10.2.0.3", 51348)]),
        (here(via="10.2.0.2:51349"), []),
    ],
)
def test_routes_are_what_is_announced_then_where_it_came_from_then_the_relay(
    packet: Packet, expected: list[Route]
) -> None:
    assert routes_of(packet, "10.0.0.9", KEY) == expected


class Owner:
    """A scheduler without a network; what would run in greenlets does not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.instance = b"o" * 16
        self.connected: dict[bytes, Any] = {}
        self.reports: list[tuple[str, str]] = []
        self.answers: dict[Route, Any] = {}
        self.tried: list[tuple[Route, float, bool]] = []
        silent = SimpleNamespace(kill=lambda block: None)
        for name in ("spawn", "spawn_later", "keep_running"):
            for each in (module, dialing):
                monkeypatch.setattr(each, name, lambda *_, what: silent, raising=False)
        self.seeker = NodeFinder(self, Secret(bytes(32), ""), "127.0.0.1", "", 0, 10.0, False, 5.0)  # type: ignore[arg-type]

    def report(self, place: str, text: str) -> None:
        self.reports.append((place, text))

    def connection_to(self, instance: bytes) -> Any:
        return self.connected.get(instance)

    def open(self, route: Route, limit: float, small: bool) -> Any:
        self.tried.append((route, limit, small))
        answer = self.answers.get(route)
        if answer is None:
            raise ConnectFailed(f"{route.place} is not there")
        return answer

    def take(self, connection: Any, dialer: Dialer) -> None:
        dialer.closed("over")

    def hear(self, packet: Packet, source: str = "10.0.0.9") -> None:
        self.seeker._on_packet(None, packet, (source, 999))  # type: ignore[arg-type]


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    made = Owner(monkeypatch)
    made.seeker.seek([], True, 51348)
    return made


def test_one_node_that_answers_from_several_addresses_is_dialled_once(owner: Owner) -> None:
    for source in ("10.0.0.9", "10.0.1.9", "10.0.2.9", "10.0.0.9"):
        owner.hear(here(), source)
    (dialer,) = {id(each): each for each in owner.seeker.dialers.values()}.values()
    assert set(dialer.routes) == {Route(f"10.0.{number}.9", 51348) for number in range(3)}


def test_routes_of_a_node_are_limited(owner: Owner) -> None:
    for number in range(20):
        owner.hear(here(), f"10.0.{number}.9")
    (dialer,) = owner.seeker._by_instance.values()
    assert len(dialer.routes) == ROUTES
    assert dialer.routes[0] == Route("10.0.19.9", 51348)


def test_a_node_that_is_connected_is_not_dialled_again(owner: Owner) -> None:
    owner.connected[b"i" * 16] = SimpleNamespace(quiet=0.2)
    owner.hear(here())
    assert owner.seeker.dialers == {}
    owner.connected[b"i" * 16].quiet = 5.0
    owner.hear(here())
    assert list(owner.seeker.dialers) == [Route("10.0.0.9", 51348)]


def test_packets_without_a_port_or_a_way_lead_nowhere(owner: Owner) -> None:
    owner.hear(here(port=0))
    owner.hear(here(kind=RELAY))
    owner.hear(here(via="10.2.0.2:1"))
    assert owner.seeker.dialers == {}


def test_who_has_named_nodes_uses_no_others_and_hears_when_they_start(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(monkeypatch)
    owner.seeker.seek([("10.0.0.9", 51348), ("worker", 51348)], False, 51348)
    woken: list[str] = []
    for dialer in owner.seeker.dialers.values():
        monkeypatch.setattr(dialer, "wake", lambda host=dialer.host: woken.append(host))
    owner.hear(here())
    owner.hear(here(instance=b"j" * 16), "10.0.0.10")  # It may be the one with a name.
    assert woken == ["10.0.0.9", "worker"]
    assert len(owner.seeker.dialers) == 2


def test_nodes_that_are_sought_are_limited(owner: Owner) -> None:
    for number in range(FOUND_LIMIT + 10):
        owner.hear(here(instance=number.to_bytes(16, "big")), f"10.{number >> 8}.{number & 255}.9")
    assert len(owner.seeker._by_instance) == FOUND_LIMIT


def test_another_life_at_the_same_place_is_the_same_dialer(owner: Owner) -> None:
    owner.hear(here())
    owner.hear(here(instance=b"j" * 16))
    assert list(owner.seeker._by_instance) == [b"j" * 16]
    assert len(owner.seeker.dialers) == 1


def test_routes_are_tried_in_order_until_one_works_and_that_one_goes_first_then(owner: Owner) -> None:
    owner.hear(here(address="192.0.2.1"))
    (dialer,) = owner.seeker._by_instance.values()
    bad, good = dialer.routes
    dialer._impatient = SimpleNamespace(kill=lambda block: None)
    reached, text = dialer._attempt()
    assert not reached
    assert "192.0.2.1:51348 is not there (the address that the node n at 10.0.0.9 announces)" in text
    owner.answers[good] = SimpleNamespace(instance=b"i" * 16, quiet=0.0, stuck=True)
    assert dialer._attempt() == (True, "over")
    assert [route for route, _, _ in owner.tried] == [bad, good, bad, good]
    # What was swallowed on the way is tried with short packets next time, once.
    owner.tried.clear()
    dialer._attempt()
    dialer._attempt()
    assert [(route, small) for route, _, small in owner.tried] == [(good, True), (good, False)]


def test_an_address_that_is_a_relay_is_no_node(owner: Owner) -> None:
    owner.seeker.seek([("10.2.0.2", 51348)], False, 51348)
    (dialer,) = owner.seeker.dialers.values()
    owner.seeker._asked["10.2.0.2", 51348] = dialer
    owner.hear(here(kind=RELAY), "10.2.0.2")
    assert owner.seeker.dialers == {}
    assert owner.reports[-1] == ("10.2.0.2:51348", "")
    owner.seeker.seek([("10.2.0.2", 51348)], False, 51348)
    assert owner.seeker.dialers == {}


class Failing(Owner):
    """A scheduler that fails by defects, and then works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, opens: int, takes: int) -> None:
        super().__init__(monkeypatch)
        self.opens, self.takes = opens, takes
        self.aborted: list[str] = []
        self.good = Event()

    def open(self, route: Route, limit: float, small: bool) -> Any:
        self.opens -= 1
        if self.opens >= 0:
            raise RuntimeError("a defect")
        return SimpleNamespace(instance=b"i" * 16, quiet=0.0, stuck=False, abort=self.aborted.append)

    def take(self, connection: Any, dialer: Dialer) -> None:
        self.takes -= 1
        if self.takes >= 0:
            dialer.closed("it was closed, and nobody has waited for that")
            raise RuntimeError("a defect")
        self.good.set()


@pytest.mark.parametrize(("opens", "takes"), [(3, 0), (0, 3), (2, 2)])
def test_a_dialer_that_fails_by_a_defect_tries_again_and_leaves_no_connection_open(
    opens: int, takes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dialing.keep_running
    owner = Failing(monkeypatch, opens=opens, takes=takes)
    monkeypatch.setattr(greenlets, "_pause", lambda seconds: None)
    monkeypatch.setattr(dialing, "keep_running", real)
    dialer = Dialer(owner.seeker, owner, [Route("10.0.0.9", 51348)])
    try:
        assert owner.good.wait(5)
        assert len(owner.aborted) == takes
        gevent.idle()
        assert dialer.connection is not None and not dialer.greenlet.dead
    finally:
        dialer.greenlet.kill()


class Stop(Exception):
    pass


def pauses_of(owner: Owner, monkeypatch: pytest.MonkeyPatch, count: int) -> list[float]:
    """The pauses that a dialer makes between its first attempts, at most."""
    found: list[float] = []

    def pause(seconds: float) -> None:
        found.append(seconds)
        if len(found) == count:
            raise Stop

    monkeypatch.setattr(reconnect.random, "uniform", lambda least, most: most)
    dialer = Dialer(owner.seeker, owner, [Route("127.0.0.1", 1)])
    monkeypatch.setattr(dialer, "_pause", pause)
    with pytest.raises(Stop):
        dialer._run()
    return found


class Busy(Owner):
    """A node says that it is busy each time, or what is wanted."""

    reason = f"{BUSY}in use by another"

    def open(self, route: Route, limit: float, small: bool) -> Any:
        return SimpleNamespace(instance=b"i" * 16, quiet=0.0, stuck=False)

    def take(self, connection: Any, dialer: Dialer) -> None:
        gevent.spawn(dialer.closed, self.reason)


def test_a_busy_node_is_asked_at_intervals_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[None] = []
    owner = Busy(monkeypatch)
    monkeypatch.setattr(owner.seeker, "hear_of_free_nodes", lambda: heard.append(None))
    pauses = pauses_of(owner, monkeypatch, 10)
    assert pauses[:4] == [pytest.approx(0.1 * 2**number) for number in range(4)]
    assert pauses[-2:] == [BUSY_LIMIT, BUSY_LIMIT]
    assert len(heard) == 10


def test_a_node_that_ends_connections_for_another_reason_is_asked_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Busy(monkeypatch)
    owner.reason = "the connection broke"
    assert pauses_of(owner, monkeypatch, 10)[-1] == REFUSED_LIMIT


def test_a_found_node_that_was_busy_for_long_is_not_forgotten_when_it_is_gone_for_a_moment(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.hear(here())
    (dialer,) = owner.seeker._by_instance.values()
    attempts = iter([*20 * [(True, f"{BUSY}it works")], *8 * [(False, "gone")], (True, ""), *9 * [(False, "gone")]])
    monkeypatch.setattr(dialer, "_attempt", lambda: next(attempts))
    monkeypatch.setattr(dialer, "_pause", lambda seconds: None)
    dialer._run()
    assert list(attempts) == []
    assert owner.seeker.dialers == {}


def test_news_of_a_node_that_comes_during_an_attempt_or_at_its_end_is_not_lost(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(module.gevent, "sleep", slept.append)
    owner.hear(here())
    (dialer,) = owner.seeker._by_instance.values()
    owner.hear(here())  # While it is dialled, since nothing is connected.
    with gevent.Timeout(5):
        dialer._pause(1000.0)
    assert slept == [dialing.WAKE_INTERVAL]


def test_where_all_nodes_are_on_this_machine_a_beacon_hears_of_those_that_become_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []

    class Ears:
        def __init__(self, key: bytes, instance: bytes, addresses: list[str], *_: Any) -> None:
            made.append(addresses)

        def start(self) -> None:
            made.append("started")

        def close(self) -> None:
            made.append("closed")

    monkeypatch.setattr(module, "Beacons", Ears)
    owner = Owner(monkeypatch)
    owner.seeker.seek([("127.0.0.1", 1)], False, 51348)
    for _ in range(3):
        owner.seeker.hear_of_free_nodes()
    assert made == [["127.0.0.1"], "started"]
    owner.seeker.close()
    assert made[2:] == ["closed"]
    made.clear()
    other = Owner(monkeypatch)
    other.seeker.seek([("10.0.0.9", 1)], False, 51348)  # It opens its own for that.
    other.seeker.hear_of_free_nodes()
    assert made == []
