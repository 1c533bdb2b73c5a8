"""Nodes are found without being named, where networks allow it.

client (10.1.0.1) ─┬─ lan ─┬─ other hosts (10.1.0.2 ...)
"""

from __future__ import annotations

from typing import Any

from gdispy import generate_secret
from tests.support.lab import Lab
from tests.support.waiting import eventually


def names(told: dict[str, Any]) -> list[str]:
    return [name for name, _ in told["nodes"]]


def has(*wanted: str) -> Any:
    return lambda told: names(told) == list(wanted)


def test_nodes_of_a_lan_are_found_by_broadcast(lab: Lab) -> None:
    client, one, two = lab.simple("client", "one", "two")
    one.node()
    two.node()
    told = client.run(jobs=4, count=2, seconds=0.1)
    assert told["nodes"] == [["one", "10.1.0.2"], ["two", "10.1.0.3"]]
    assert {name for _, name, *_ in told["results"]} == {"one", "two"}


def test_nodes_that_start_later_or_again_are_found_at_once(lab: Lab) -> None:
    client, one = lab.simple("client", "one")
    program = client.program(jobs=2)
    assert program.ask("status")["nodes"] == []
    node = one.node()
    program.until("status", has("one"), within=3)
    assert program.result_of_jobs() == ["one", "one"]
    node.kill()
    program.until("status", has(), within=5)
    one.node()
    program.until("status", has("one"), within=4)
    program.ask("submit 1 0")
    assert program.result_of_jobs() == ["one"] * 3


def test_several_nodes_and_programs_of_one_host_find_each_other(lab: Lab) -> None:
    first, second = lab.simple("first", "second")
    second.node()
    second.node("--name", "another", port=0)
    programs = [host.program(jobs=1, count=0) for host in (first, second)]
    # A node works for one program at a time; between the two, they have both.
    eventually(lambda: sorted(name for each in programs for name in names(each.ask("status"))) == ["another", "second"])


def test_packets_of_broadcast_that_are_lost_come_again(lab: Lab) -> None:
    client, one = lab.simple("client", "one")
    # Two of three packets of discovery are lost, in an order that is the same each time.
    one.rules("meta l4proto udp numgen inc mod 3 != 2 drop")
    one.node()
    assert names(client.run(count=1)) == ["one"]


def test_nodes_are_found_by_multicast_where_broadcasts_are_dropped(lab: Lab) -> None:
    client, one, two = lab.simple("client", "one", "two")
    for host in (one, two):
        host.set("net.ipv6.conf.all.disable_ipv6=1")
        host.rules("udp dport 51348 ip daddr { 10.1.0.255, 255.255.255.255 } drop")
    one.node()
    told = client.run(jobs=1, count=1, ipv4_udp_multicast=True)
    assert names(told) == ["one"]
    # A node that starts later is heard by multicast too.
    client.rules("udp dport 51347 ip daddr 10.1.0.255 drop")
    program = client.program(ipv4_udp_multicast=True, ping_interval=1000)
    program.until("status", has("one"))
    two.node("--ipv4_udp_multicast")
    program.until("status", has("one", "two"), within=4)


def test_nodes_are_found_by_ipv6_alone(lab: Lab) -> None:
    lan = lab.lan()
    client, one = lab.host("client"), lab.host("one")
    for host in (client, one):
        interface = host.join(lan)
        host.link_local(interface)
    one.node()
    told = client.run(jobs=1, count=1)
    assert told["nodes"] == [["one", f"{one.link_local('eth0')}%eth0"]]
    assert told["results"][0][1] == "one"


def test_other_secrets_do_not_see_each_other(lab: Lab, tmp_path: Any) -> None:
    client, ours, theirs = lab.simple("client", "ours", "theirs")
    other = tmp_path / "other-secret"
    other.touch(0o600)
    other.write_text(generate_secret())
    theirs.node(env={"GDISPY_SECRET_FILE": str(other)})
    ours.node()
    told = client.run(count=1, jobs=1)
    assert names(told) == ["ours"]
    assert told["problems"] == []
    listed = client.command("gdispy", "nodes")
    assert "ours" in listed.stdout
    assert "theirs" not in listed.stdout + listed.stderr


def test_hosts_with_several_networks_are_reached_at_an_address_that_works(lab: Lab) -> None:
    """The node's first interface is one of containers, which has the same addresses on the client.

    client (10.1.0.1, and 172.17.0.1) ─ lan ─ node (172.17.0.1 first, 10.1.0.2)
    """
    client, one = lab.host("client"), lab.host("one")
    lan = lab.lan()
    for number, host in enumerate((client, one), 1):
        inner = lab.lan(f"containers of {host.name}")
        host.join(inner, "172.17.0.1/16")
        host.join(lan, f"10.1.0.{number}/24")
    one.node()
    told = client.run(jobs=1, count=1)
    assert told["nodes"] == [["one", "10.1.0.2"]]
    assert told["results"][0][1] == "one"
    assert told["problems"] == []


def test_a_node_that_moves_to_another_address_is_found_there_and_its_jobs_are_kept(lab: Lab) -> None:
    client, one = lab.simple("client", "one")
    one.node()
    program = client.program(jobs=1, count=1, seconds=4.0, pulse_interval=0.5)
    program.until("status", lambda told: told["running"] == 1)
    one.ip("address", "delete", "10.1.0.2/24", "dev", "eth0")
    one.add_address("eth0", "10.1.0.77/24")
    told = program.result()
    assert told["done"]
    assert [name for _, name, *_ in told["results"]] == ["one"]
    assert told["seconds"] < 15


def test_jobs_know_the_address_of_their_node(lab: Lab) -> None:
    client, one = lab.simple("client", "one")
    one.node()
    told = client.run(jobs=1)
    assert told["results"][0][3] == "10.1.0.2"
