"""IPv6 wherever an address can stand.

client (fd00:1::1) ─ lan ─ one (fd00:1::2), two (fd00:1::3); nobody has an address of IPv4
"""

from __future__ import annotations

import pytest

from tests.network.test_discovery import has
from tests.support.daemons import Daemon
from tests.support.lab import Host, Lab


@pytest.fixture
def six(lab: Lab) -> list[Host]:
    lan = lab.lan()
    hosts = [lab.host(name) for name in ("client", "one", "two")]
    for number, host in enumerate(hosts, 1):
        host.join(lan, f"fd00:1::{number}/64")
        host.link_local("eth0")
    return hosts


@pytest.mark.parametrize("place", ["fd00:1::2", "[fd00:1::2]:51348", "[fd00:1::2]"])
def test_nodes_are_named_by_address(six: list[Host], place: str) -> None:
    client, one, _ = six
    one.node("-i", "fd00:1::2")
    told = client.run(nodes=[place])
    assert told["nodes"] == [["one", "fd00:1::2"]]
    assert told["results"][0][1] == "one"


def test_nodes_are_named_by_an_address_of_the_link_with_its_zone(six: list[Host]) -> None:
    client, one, _ = six
    own = one.link_local("eth0")
    one.node("-i", f"{own}%eth0")
    told = client.run(nodes=[f"[{own}%eth0]:51348"])
    assert told["nodes"] == [["one", f"{own}%eth0"]]
    assert told["results"][0][1] == "one"


def test_a_node_without_an_address_given_listens_by_both(six: list[Host]) -> None:
    client, one, _ = six
    one.add_address("eth0", "10.1.0.2/24")
    client.add_address("eth0", "10.1.0.1/24")
    node = one.node()
    assert node.place == ("0.0.0.0", 51348)
    for place, address in (("10.1.0.2", "10.1.0.2"), ("fd00:1::2", "fd00:1::2")):
        assert client.run(nodes=[place])["nodes"] == [["one", address]]


def test_a_scheduler_and_nodes_that_come_to_it(six: list[Host]) -> None:
    client, one, two = six
    scheduler = client.scheduler("-i", "fd00:1::1", "-n", "fd00:1::2")
    assert scheduler.place == ("[fd00:1::1]", 51347)
    one.node()
    two.rules("tcp dport 51348 drop")
    two.node("--connect", "[fd00:1::1]:51347", "--ext_ip_addr", "fd00:1::3")
    program = two.program(scheduler_node="[fd00:1::1]:51347", nodes=["*"], jobs=4, count=2, seconds=1.0)
    program.until("status", has("one", "two"))
    assert set(program.result_of_jobs()) == {"one", "two"}
    listed = client.command("gdispy", "status", "fd00:1::1")
    assert "fd00:1::2" in listed.stdout


def test_programs_and_nodes_of_one_machine_meet_on_its_loopback_address(start_node: object, secret_file: str) -> None:
    from gdispy import JobCluster

    node: Daemon = start_node("-i", "::1")  # type: ignore[operator]
    port = node.place[1]
    for nodes in (["::1"], [f"[::1]:{port}"], [("::1", port)]):
        with JobCluster(abs, nodes=nodes, node_port=port, secret_file=secret_file) as cluster:
            job = cluster.submit(-5)
            assert job() == 5
            assert job.ip_addr == "::1"
