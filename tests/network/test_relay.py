"""Relays: the nodes of another network are found, and reached where nothing else reaches them.

client (10.1.0.2) ─ lan ─ (10.1.0.1) router (10.2.0.1) ─ far lan ─ relay (10.2.0.2), one (10.2.0.3), two (10.2.0.4)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.network.test_discovery import has, names
from tests.support.lab import Host, Lab


class Far(NamedTuple):
    client: Host
    router: Host
    relay: Host
    one: Host
    two: Host


@pytest.fixture
def far(lab: Lab) -> Far:
    lan, far_lan = lab.lan(), lab.lan("far")
    router = lab.router("router")
    router.join(lan, "10.1.0.1/24")
    router.join(far_lan, "10.2.0.1/24")
    client = lab.host("client")
    client.join(lan, "10.1.0.2/24")
    client.gateway("10.1.0.1")
    hosts = [lab.host(name) for name in ("relay", "one", "two")]
    for number, host in enumerate(hosts, 2):
        host.join(far_lan, f"10.2.0.{number}/24")
        host.gateway("10.2.0.1")
    return Far(client, router, *hosts)


def test_nodes_of_another_network_are_found_through_a_relay_and_reached_directly(far: Far) -> None:
    far.one.node()
    relay = far.relay.relay()
    program = far.client.program(nodes=["*", "10.2.0.2"], jobs=1)
    told = program.until("status", has("one"), within=4)
    assert (told["nodes"], told["problems"]) == ([["one", "10.2.0.3"]], [])
    # One that starts later is told of at once.
    far.two.node()
    program.until("status", has("one", "two"), within=4)
    assert set(program.result_of_jobs()) <= {"one", "two"}
    assert "joined" not in relay.log.read_text()
    # Without the relay nobody is found: broadcasts stay in their network.
    relay.stop()
    program.close()
    assert names(far.client.program(jobs=0).ask("status")) == []


def test_jobs_go_through_the_relay_where_nothing_else_passes(far: Far) -> None:
    far.router.rules("ip daddr != 10.2.0.2 ip saddr != 10.2.0.2 drop", hook="forward")
    for host in (far.one, far.two):
        host.node()
    relay = far.relay.relay()
    program = far.client.program(nodes=["*", "10.2.0.2"], jobs=0)
    told = program.until("status", has("one", "two"), within=10)
    assert told["nodes"] == [["one", "10.2.0.3"], ["two", "10.2.0.4"]]
    program.ask("submit 6 0.2")
    assert set(program.result_of_jobs()) == {"one", "two"}
    assert relay.log.read_text().count("joined: 10.1.0.2 to 10.2.0.") == 2
    listed = far.client.command("gdispy", "nodes", "10.2.0.2")
    assert "in use by" in listed.stdout
    # What passes comes back when the relay was started again.
    relay.stop()
    far.relay.relay()
    program.ask("submit 2 0")
    assert len(program.result_of_jobs()) == 8


def test_large_results_pass_a_relay(far: Far) -> None:
    far.router.rules("ip daddr != 10.2.0.2 ip saddr != 10.2.0.2 drop", hook="forward")
    far.one.node()
    far.relay.relay()
    told = far.client.run(nodes=["*", "10.2.0.2"], bulk=20_000_000)
    assert told["results"] == [20_000_000]


def test_a_relay_on_both_networks_needs_no_name(lab: Lab) -> None:
    """client ─ lan ─ relay ─ far lan ─ node: nothing is routed between the two."""
    near, away = lab.lan(), lab.lan("away")
    client, relay, one = lab.host("client"), lab.host("relay"), lab.host("one")
    client.join(near, "10.1.0.1/24")
    relay.join(near, "10.1.0.2/24")
    relay.join(away, "10.2.0.2/24")
    one.join(away, "10.2.0.3/24")
    one.node()
    relay.relay()
    program = client.program(jobs=1)
    program.until("status", has("one"), within=10)
    assert program.result_of_jobs() == ["one"]


def test_nodes_come_to_a_scheduler_that_a_relay_tells_them_of(far: Far) -> None:
    far.one.node()
    far.one.rules("tcp dport 51348 drop")
    far.client.scheduler("-n", "10.9.9.9")
    far.relay.relay("--scheduler_node", "10.1.0.2")
    told = far.client.run(jobs=1, scheduler_node="10.1.0.2")
    assert told["results"][0][1] == "one"


def test_a_relay_passes_nothing_on_to_who_has_not_answered(far: Far) -> None:
    """It is no way into its network."""
    far.relay.relay()
    code = (
        "import sys, gevent; from gdispy import errors, net\n"
        "from gdispy.transport import connection, credentials\n"
        "secret = credentials.find_secret(); relay = net.RelayAddress('10.2.0.2', 51348, secret.for_udp())\n"
        "handlers = connection.Handlers(print, print)\n"
        "try: net.connect('10.2.0.3', 22, secret.for_tcp(), b'scheduler>node', handlers, relay=relay)\n"
        "except errors.ConnectFailed as error: print(error)\n"
    )
    assert "no node at 10.2.0.3:22 has answered" in far.client.python(code)


def test_a_relay_of_another_secret_relays_nothing(far: Far, tmp_path: Any) -> None:
    other = tmp_path / "other-secret"
    other.touch(0o600)
    other.write_text("another pass phrase, long enough")
    far.one.node()
    far.relay.relay("--secret-file", str(other))
    program = far.client.program(nodes=["*", "10.2.0.2"], jobs=0)
    told = program.until("status", lambda told: told["problems"])
    assert told["nodes"] == []
    assert told["problems"][0].startswith("10.2.0.2:51348: ")
