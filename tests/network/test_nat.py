"""Nodes and programs behind NAT, with ports forwarded and without.

inside (10.1.0.2, 10.1.0.3) ─ lan ─ (10.1.0.1) router with NAT (192.0.2.1) ─ wan ─ outside (192.0.2.9)
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any, NamedTuple

import pytest

from tests.network.test_discovery import has
from tests.support.lab import Host, Lab
from tests.support.waiting import eventually


class Nat(NamedTuple):
    one: Host
    two: Host
    router: Host
    outside: Host


@pytest.fixture
def nat(lab: Lab) -> Nat:
    lan, wan = lab.lan(), lab.lan("wan")
    router = lab.router("router", nat="eth1")
    router.join(lan, "10.1.0.1/24")
    router.join(wan, "192.0.2.1/24")
    hosts = [lab.host(name) for name in ("one", "two")]
    for number, host in enumerate(hosts, 2):
        host.join(lan, f"10.1.0.{number}/24")
        host.gateway("10.1.0.1")
    outside = lab.host("outside")
    outside.join(wan, "192.0.2.9/24")
    return Nat(*hosts, router, outside)


def told_of(program: Any, text: str) -> Any:
    return lambda told: any(text in each for each in told["problems"])


def test_a_node_with_its_port_forwarded_is_reached_from_outside(lab: Lab, nat: Nat) -> None:
    lab.forward(nat.router, "eth1", 51348, "10.1.0.2:51348")
    nat.one.node("--ext_ip_addr", "192.0.2.1")
    told = nat.outside.run(nodes=["192.0.2.1"], jobs=2)
    assert [name for _, name, *_ in told["results"]] == ["one", "one"]
    # On its own network it is found too, though the address that it announces is not reached from there.
    told = nat.two.run(jobs=1)
    assert told["results"][0][1] == "one"
    assert "announces an address that does not work: no gdispy-node is listening at 192.0.2.1:51348" in told["log"]
    assert "Connected to 10.1.0.2:51348 instead" in told["log"]


def test_two_nodes_behind_one_nat_have_ports_of_their_own(lab: Lab, nat: Nat) -> None:
    lab.forward(nat.router, "eth1", 40001, "10.1.0.2:51348")
    lab.forward(nat.router, "eth1", 40002, "10.1.0.3:51348")
    nat.one.node("--ext_ip_addr", "192.0.2.1:40001")
    nat.two.node("--ext_ip_addr", "192.0.2.1:40002")
    program = nat.outside.program(nodes=["192.0.2.1:40001", "192.0.2.1:40002"], jobs=0)
    program.until("status", has("one", "two"))
    program.ask("submit 4 0.3")
    assert set(program.result_of_jobs()) == {"one", "two"}


def test_a_program_behind_nat_uses_nodes_outside_without_any_forwarding(nat: Nat) -> None:
    nat.outside.node()
    told = nat.one.run(nodes=["192.0.2.9"])
    assert told["results"][0][1] == "outside"


def test_nodes_behind_nat_come_to_a_program_outside_without_any_forwarding(nat: Nat) -> None:
    for host in (nat.one, nat.two):
        host.node("--connect", "192.0.2.9")
    program = nat.outside.program(jobs=0)
    told = program.until("status", has("one", "two"), within=6)
    assert told["nodes"] == [["one", "192.0.2.1"], ["two", "192.0.2.1"]]
    program.ask("submit 6 0.2")
    assert set(program.result_of_jobs()) == {"one", "two"}
    program.close()
    # They wait for the next program.
    program = nat.outside.program(jobs=1)
    program.until("status", has("one", "two"), within=6)


def test_nodes_come_to_a_scheduler_outside_and_come_back_when_it_is_started_again(nat: Nat) -> None:
    nat.one.node("--scheduler_node", "192.0.2.9:51347")
    scheduler = nat.outside.scheduler()
    told = nat.two.run(jobs=1, scheduler_node="192.0.2.9")
    assert told["results"][0][1] == "one"
    scheduler.stop()
    nat.outside.scheduler()
    assert nat.two.run(jobs=1, scheduler_node="192.0.2.9")["results"][0][1] == "one"


def test_jobs_of_a_node_that_came_by_itself_are_kept_when_its_way_breaks(nat: Nat) -> None:
    nat.one.node("--connect", "192.0.2.9")
    program = nat.outside.program(jobs=1, seconds=3.0, pulse_interval=0.2)
    program.until("status", lambda told: told["running"] == 1)
    table = nat.router.rules("drop", hook="forward")
    told = program.until("status", lambda told: told["problems"])
    assert "no heartbeat" in told["problems"][0] or "connection broke" in told["problems"][0]
    nat.router.lift(table)
    assert program.result_of_jobs() == ["one"]


def test_a_node_behind_a_firewall_is_found_and_comes_to_who_looks_for_it(lab: Lab) -> None:
    """Nobody can connect to the node, but packets of discovery pass: it connects to the program that asks."""
    client, one = lab.simple("client", "one")
    one.rules("tcp dport 51348 drop")
    one.node()
    program = client.program(jobs=1)
    program.until("status", has("one"), within=10)
    assert program.result_of_jobs() == ["one"]


def test_a_wrong_address_of_a_node_is_named_and_others_work(nat: Nat) -> None:
    """192.0.2.77 is nobody's; 192.0.2.1 forwards nothing."""
    nat.one.node()
    program = nat.two.program(nodes=["10.1.0.2", "192.0.2.77", "192.0.2.1:51348"], jobs=2)
    assert program.result_of_jobs() == ["one", "one"]
    told = program.until("status", lambda told: len(told["problems"]) == 2)
    assert {text.partition(": ")[0] for text in told["problems"]} == {"192.0.2.77:51348", "192.0.2.1:51348"}


def test_a_port_that_is_forwarded_to_somebody_else_is_named(lab: Lab, nat: Nat, tmp_path: Any) -> None:
    lab.forward(nat.router, "eth1", 51348, "10.1.0.3:22")
    nat.one.node("--ext_ip_addr", "192.0.2.1")
    web = "import socket; s = socket.create_server(('', 22)); print(flush=True); c = s.accept()[0]"
    web += "; c.sendall(b'SSH-2.0\\r\\n'); c.recv(1); c.close(); s.accept()"
    other = subprocess.Popen([*nat.two.within, sys.executable, "-c", web], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"\n"  # It listens.
        program = nat.outside.program(nodes=["192.0.2.1"])
        told = program.until("status", lambda told: told["problems"] and "no answer yet" not in told["problems"][0])
        assert "192.0.2.1:51348" in told["problems"][0]
        assert "not a gdispy port" in told["problems"][0] or "is not one" in told["problems"][0]
    finally:
        other.kill()
        other.communicate(timeout=5)


def test_a_program_at_home_has_its_port_forwarded_and_announces_it(lab: Lab, nat: Nat) -> None:
    """A node outside, behind a firewall of its own, comes to the program through the forwarded port."""
    lab.forward(nat.router, "eth1", 51347, "10.1.0.2:51347")
    nat.outside.node("--connect", "192.0.2.1")
    nat.outside.rules("tcp dport 51348 drop")
    program = nat.one.program(jobs=1, ext_ip_addr="192.0.2.1")
    program.until("status", has("outside"), within=6)
    assert program.result_of_jobs() == ["outside"]


def test_a_node_that_connects_says_so_while_nobody_is_there(nat: Nat) -> None:
    node = nat.one.node("--connect", "192.0.2.9")
    eventually(
        lambda: "no gdispy program or gdispy-scheduler is listening at 192.0.2.9:51347" in node.log.read_text(), 5
    )
