"""Which packets and connections a relay forwards, and which it refuses."""

from __future__ import annotations

import secrets
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.discovery import relay as module
from gdispy.discovery.node_finder import LINK_LOCAL_DELAY
from gdispy.discovery.relay import ASKER_LIFE, ASKERS, PLACES_EACH, SCHEDULER_INTERVAL, Relay, RelaySettings
from gdispy.discovery.relay_targets import NODE_LIFE
from gdispy.errors import ConfigError, ConnectFailed, PeerRejected, ProtocolError
from gdispy.protocol.discovery import HERE, LOOK, OPENED, PACKET_BYTES, REFUSED, RELAY, THROUGH, Packet, pack, unpack
from gdispy.protocol.secretbox import NONCE_BYTES
from gdispy.transport.credentials import Secret

SECRET = Secret(bytes(range(32)), "")
KEY = SECRET.for_udp()
OWN, PORT, NODE_PORT = "10.0.0.1", 51349, 51348
ASKER = ("192.0.2.7", 4000)


class Ears:
    """A beacon: records what it was to send."""

    def __init__(self, *_: Any) -> None:
        self.told: list[tuple[int, int, Any]] = []
        self.sent: list[tuple[Packet, Any]] = []
        self.broadcasts: list[Any] = []
        self.is_closed = False

    def tell(self, kind: int, port: int, address: Any) -> None:
        self.told.append((kind, port, address))

    def send(self, packet: Packet, address: Any) -> None:
        self.sent.append((packet, address))

    def broadcast(self, kind: int, port: int, node_port: int) -> None:
        self.broadcasts.append((kind, port, node_port))

    def broadcast_packet(self, packet: Packet, port: int) -> None:
        self.broadcasts.append((packet, port))

    def start(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True


class Connection:
    """An end of a connection: gives these bytes, and records what is sent."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.sent: list[bytes] = []
        self.is_closed = False

    def recv(self, size: int) -> bytes:
        data, self.data = self.data[:size], self.data[size:]
        return data

    def sendall(self, data: bytes) -> None:
        if self.is_closed:
            raise BrokenPipeError("closed")
        self.sent.append(data)

    def close(self) -> None:
        self.is_closed = True

    def getsockname(self) -> tuple[str, int]:
        return OWN, PORT

    def answer(self) -> Packet:
        (data,) = self.sent
        return unpack(KEY, data)


class Made:
    """A relay without a network; its clock is `now`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, secret: Secret = SECRET, **settings: Any) -> None:
        self.now = 5000.0
        self.here = {OWN}
        self.later: list[tuple[float, Any, tuple[Any, ...]]] = []
        self.spawned: list[tuple[Any, ...]] = []
        self.reached: list[tuple[str, int]] = []
        self.joined: list[tuple[Any, Any]] = []
        self.goal: Any = Connection()
        clock = SimpleNamespace(time=lambda: self.now, monotonic=lambda: self.now)
        monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(module, "Beacon", Ears)
        monkeypatch.setattr(module, "listening_sockets", lambda host, port: [Connection()])
        monkeypatch.setattr(module, "is_here", lambda address: address in self.here)
        monkeypatch.setattr(
            module, "spawn_later", lambda wait, work, *args, what: self.later.append((wait, work, args))
        )
        monkeypatch.setattr(module, "spawn", lambda work, *args, what: self.spawned.append(args))
        monkeypatch.setattr(module, "reach", self._reach)
        monkeypatch.setattr(module, "tune", lambda sock, limits: None)
        monkeypatch.setattr(module, "join_pair", lambda asker, goal: self.joined.append((asker, goal)))
        values = {"ip_addr": "", "relay_port": PORT, "node_port": NODE_PORT, "schedulers": (), "multicast": False}
        self.relay: Any = Relay(secret, RelaySettings(**{**values, **settings}))
        monkeypatch.setattr(self.relay, "_own_address", lambda towards: OWN)
        self.beacon: Ears = self.relay._beacon

    def _reach(self, host: str, port: int, *_: Any) -> Any:
        self.reached.append((host, port))
        if isinstance(self.goal, Exception):
            raise self.goal
        return self.goal

    def hear(self, packet: Packet, source: tuple[str, int]) -> None:
        self.relay._on_packet(self.beacon, packet, source)

    def ask(self, instance: bytes = b"a" * 16, source: tuple[str, int] = ASKER, **fields: Any) -> None:
        self.hear(self.packet(LOOK, instance=instance, **fields), source)

    def node(self, source: str = "10.0.0.9", **fields: Any) -> None:
        self.hear(self.packet(HERE, **fields), (source, 999))

    def packet(self, kind: int, instance: bytes = b"n" * 16, **fields: Any) -> Packet:
        values: dict[str, Any] = {"time": self.now, "port": NODE_PORT if kind == HERE else 0, "address": "", "name": ""}
        return Packet(kind, instance, **{**values, **fields})

    def question(self, place: str, kind: int = THROUGH, key: bytes = KEY, **fields: Any) -> bytes:
        packet = self.packet(kind, secrets.token_bytes(16), address=place, **fields)
        return pack(key, packet, secrets.token_bytes(NONCE_BYTES))

    def connect(self, data: bytes) -> Connection:
        """A connection of the asker sends these bytes."""
        sock = Connection(data)
        self.relay._pass(1, sock, ASKER[0])
        assert sock.is_closed
        return sock


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


# Packets


def test_request_is_answered_and_forwarded_with_where_the_answer_goes(made: Made) -> None:
    made.ask()
    assert made.beacon.told == [(RELAY, PORT, ASKER)]
    ((packet, port),) = made.beacon.broadcasts
    assert port == NODE_PORT
    assert (packet.kind, packet.instance, packet.time) == (LOOK, b"a" * 16, made.now)
    assert (packet.address, packet.udp, packet.via) == (ASKER[0], ASKER[1], str(PORT))


def test_address_that_a_request_names_is_forwarded_unchanged(made: Made) -> None:
    made.ask(address="198.51.100.4")
    ((packet, _),) = made.beacon.broadcasts
    assert (packet.address, packet.udp) == ("198.51.100.4", ASKER[1])


def test_request_that_another_relay_has_forwarded_goes_no_further(made: Made) -> None:
    made.ask(via="51349")
    assert made.beacon.told == [] and made.beacon.broadcasts == []
    made.node()
    assert made.beacon.sent == []


def test_answer_of_a_node_is_sent_to_the_asker_with_the_relay_in_it(made: Made) -> None:
    made.ask()
    made.node(name="worker")
    ((packet, address),) = made.beacon.sent
    assert address == ASKER
    assert (packet.kind, packet.name, packet.instance) == (HERE, "worker", b"n" * 16)
    assert (packet.address, packet.via) == (f"10.0.0.9:{NODE_PORT}", f"{OWN}:{PORT}")


def test_node_on_the_askers_host_is_not_reported_to_it(made: Made) -> None:
    made.ask()
    made.node(ASKER[0])
    assert made.beacon.sent == []


def test_best_address_of_a_node_is_sent_last_since_the_last_is_tried_first(made: Made) -> None:
    made.ask()
    made.node(address="198.51.100.4:40001")
    assert [packet.address for packet, _ in made.beacon.sent] == [f"10.0.0.9:{NODE_PORT}", "198.51.100.4:40001"]


@pytest.mark.parametrize("fields", [{"port": 0}, {"via": "10.0.0.2:51349"}, {"kind": RELAY}])
def test_packets_that_are_no_answers_of_nodes_here_are_not_forwarded(made: Made, fields: dict[str, Any]) -> None:
    made.ask()
    made.hear(made.packet(**{"kind": HERE, **fields}), ("10.0.0.9", 999))
    assert made.beacon.sent == []


def test_asker_is_notified_for_a_limited_time(made: Made) -> None:
    made.ask()
    made.now += ASKER_LIFE
    made.node()
    assert len(made.beacon.sent) == 1
    made.now += 0.1
    made.node()
    assert len(made.beacon.sent) == 1 and not made.relay._askers
    made.ask()
    made.node()
    assert len(made.beacon.sent) == 2


def test_askers_are_limited_and_the_one_that_has_not_asked_for_longest_is_dropped(made: Made) -> None:
    for number in range(ASKERS):
        made.ask(number.to_bytes(16, "big"))
    made.ask((0).to_bytes(16, "big"))
    made.ask(b"x" * 16)
    assert len(made.relay._askers) == ASKERS
    assert (0).to_bytes(16, "big") in made.relay._askers and (1).to_bytes(16, "big") not in made.relay._askers


def test_link_local_address_is_forwarded_only_if_the_node_has_no_other(made: Made) -> None:
    made.ask()
    made.node("fe80::9%eth0")
    assert made.beacon.sent == []
    ((wait, work, args),) = made.later
    assert wait == LINK_LOCAL_DELAY
    work(*args)
    assert [packet.address for packet, _ in made.beacon.sent] == [f"[fe80::9%eth0]:{NODE_PORT}"]
    made.node()
    work(*args)
    made.node("fe80::9%eth0")
    assert len(made.beacon.sent) == 2 and len(made.later) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", OWN, f"{OWN}:22"])
def test_addresses_that_are_of_no_node_are_not_forwarded_or_connected_to(made: Made, address: str) -> None:
    made.ask()
    made.node(address=address)
    assert [packet.address for packet, _ in made.beacon.sent] == [f"10.0.0.9:{NODE_PORT}"]
    with pytest.raises(ProtocolError, match="has answered"):
        made.relay._open(address if ":" in address else f"{address}:{NODE_PORT}")


def test_relay_itself_is_no_node_but_a_node_beside_it_is(made: Made) -> None:
    made.ask()
    made.node(OWN, port=PORT)
    assert made.beacon.sent == []
    made.node(OWN, port=PORT + 1)
    assert [packet.address for packet, _ in made.beacon.sent] == [f"{OWN}:{PORT + 1}"]


# Its own requests


class Over(Exception):
    pass


def pauses_of(work: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == count:
            raise Over

    monkeypatch.setattr(module.gevent, "sleep", pause)
    with pytest.raises(Over):
        work()
    return pauses


def test_nodes_are_sought_when_the_relay_starts(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module.gevent, "sleep", pauses.append)
    made.relay._look()
    assert made.beacon.broadcasts == len(pauses) * [(LOOK, 0, NODE_PORT)] and len(pauses) > 1


def test_nodes_are_told_of_a_named_scheduler_at_intervals(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = pauses_of(lambda: made.relay._tell_of("192.0.2.1", 51347), 2, monkeypatch)
    assert pauses == [SCHEDULER_INTERVAL, SCHEDULER_INTERVAL]
    packets = [packet for packet, _ in made.beacon.broadcasts]
    assert {(each.kind, each.port, each.address) for each in packets} == {(LOOK, 51347, "192.0.2.1:51347")}
    assert len({each.instance for each in packets}) == 1


# Connections


def test_connection_to_a_node_that_has_answered_is_opened_and_joined(made: Made) -> None:
    made.node()
    sock = made.connect(made.question(f"10.0.0.9:{NODE_PORT}"))
    assert sock.answer().kind == OPENED
    assert made.reached == [("10.0.0.9", NODE_PORT)] and made.joined == [(sock, made.goal)]
    assert made.goal.is_closed


@pytest.mark.parametrize("place", ["10.0.0.8:51348", "10.0.0.9:22", "10.0.0.9", "", "10.0.0.9:x"])
def test_connection_elsewhere_is_refused_with_the_reason(made: Made, place: str) -> None:
    made.node()
    sock = made.connect(made.question(place))
    assert sock.answer().kind == REFUSED and sock.answer().name
    assert made.reached == [] and made.joined == []


def test_node_that_has_not_answered_for_long_is_not_connected_to(made: Made) -> None:
    made.node()
    made.now += NODE_LIFE + 1
    sock = made.connect(made.question(f"10.0.0.9:{NODE_PORT}"))
    assert (sock.answer().kind, sock.answer().name) == (REFUSED, f"no node at 10.0.0.9:{NODE_PORT} has answered")


def test_asker_gets_the_reason_why_the_node_cannot_be_reached(made: Made) -> None:
    made.node()
    made.goal = ConnectFailed("connection refused")
    sock = made.connect(made.question(f"10.0.0.9:{NODE_PORT}"))
    assert (sock.answer().kind, sock.answer().name) == (REFUSED, "connection refused")


@pytest.mark.parametrize("error", [OSError("broken"), ProtocolError("not gdispy"), PeerRejected("closed")])
def test_failure_after_the_connection_was_opened_closes_both_without_a_second_answer(
    made: Made, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(asker: Any, goal: Any) -> None:
        raise error

    monkeypatch.setattr(module, "join_pair", fail)
    made.node()
    sock = made.connect(made.question(f"10.0.0.9:{NODE_PORT}"))
    assert sock.answer().kind == OPENED and made.goal.is_closed


def test_full_relay_refuses_before_it_connects(made: Made) -> None:
    made.node()
    made.relay._pairs = module.JoinedConnections(0)
    sock = made.connect(made.question(f"10.0.0.9:{NODE_PORT}"))
    assert (sock.answer().kind, sock.answer().name) == (REFUSED, "0 connections are relayed already")
    assert made.reached == []


def test_request_is_valid_once_and_for_a_limited_time(made: Made) -> None:
    made.node()
    question = made.question(f"10.0.0.9:{NODE_PORT}")
    assert made.connect(question).sent and not made.connect(question).sent
    assert not made.connect(made.question(f"10.0.0.9:{NODE_PORT}", time=made.now - 3600)).sent
    assert len(made.joined) == 1


@pytest.mark.parametrize("data", ["other kind", "other key", "garbage", "short"])
def test_connection_without_a_request_gets_no_answer(made: Made, data: str) -> None:
    made.node()
    place = f"10.0.0.9:{NODE_PORT}"
    questions = {
        "other kind": made.question(place, LOOK),
        "other key": made.question(place, key=bytes(32)),
        "garbage": bytes(PACKET_BYTES),
        "short": made.question(place)[:-1],
    }
    assert made.connect(questions[data]).sent == []
    assert made.reached == [] and not made.relay._strangers


def resolved_to(*addresses: str) -> Any:
    return lambda host, port, kind: [(2, 1, 0, "", (address, port)) for address in addresses]


def test_name_that_a_node_announces_is_looked_up_and_its_address_checked(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.node(address="worker.lab:40001")
    monkeypatch.setattr(module, "resolve", resolved_to("127.0.0.1", OWN, "10.0.0.9"))
    assert made.relay._open("worker.lab:40001") is made.goal
    assert made.reached == [("10.0.0.9", 40001)]
    monkeypatch.setattr(module, "resolve", resolved_to("127.0.0.1", OWN, "169.254.169.254"))
    with pytest.raises(ProtocolError, match=r"no node can be at the address of worker\.lab"):
        made.relay._open("worker.lab:40001")
    assert len(made.reached) == 1


def test_connections_without_a_request_from_one_address_displace_each_other(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[Connection] = []

    def connection(*_: Any, fileno: int) -> Connection:
        accepted.append(Connection())
        return accepted[-1]

    kinds = {name: getattr(module.socket, name) for name in ("AF_INET", "AF_INET6", "SOCK_STREAM")}
    monkeypatch.setattr(module, "socket", SimpleNamespace(socket=connection, **kinds))
    for number in range(PLACES_EACH + 1):
        made.relay._arrive(number, ("192.0.2.7", 1))
    assert sum(each.is_closed for each in accepted) == 1
    made.relay._arrive(99, ("192.0.2.8", 1))
    assert sum(each.is_closed for each in accepted) == 1
    assert len(made.spawned) == PLACES_EACH + 2


# Start and end


def test_relay_without_a_secret_listens_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    insecure = Secret(bytes(32), "", insecure=True)
    with pytest.raises(ConfigError, match="a relay listens only on this machine"):
        Made(monkeypatch, insecure, ip_addr="10.0.0.1")
    Made(monkeypatch, insecure, ip_addr="127.0.0.1")


def test_stopped_relay_closes_what_it_has_opened(made: Made) -> None:
    made.relay.stop()
    made.relay.wait()
    assert made.beacon.is_closed and made.relay._client_beacon.is_closed
    assert all(sock.is_closed for sock in made.relay._sockets)
