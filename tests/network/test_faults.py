"""Links that are bad, and in how many ways: jobs have one end each, and other nodes go on.

The first tests put a proxy between a program and a node on the loopback interface; the others are on a network:

    client (10.1.0.1) ─ lan ─ (10.1.0.254) router (10.2.0.254) ─ far lan ─ one (10.2.0.2), two (10.2.0.3)
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gdispy import JobCluster
from gdispy.protocol.discovery import HERE, LOOK, NONCE_BYTES, Packet, pack
from gdispy.transport.credentials import find_secret
from tests.network.test_discovery import names
from tests.support.daemons import Daemon
from tests.support.jobs import note_and_wait
from tests.support.lab import Host, Lab
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

PULSE = 0.2
Start = Callable[..., Daemon]


@pytest.fixture
def proxy(node: Daemon) -> Iterator[Proxy]:
    with Proxy(node.place) as made:
        yield made


def double(number: int) -> int:
    return 2 * number


# A proxy in between


def test_delay_makes_it_slower_and_nothing_else(proxy: Proxy, secret_file: str) -> None:
    proxy.delay = 0.05
    with JobCluster(double, nodes=[proxy.place], secret_file=secret_file) as cluster:
        assert list(cluster.map(range(100))) == [2 * number for number in range(100)]


def test_cuts_every_400_kilobytes(proxy: Proxy, secret_file: str) -> None:
    # More than the longest message about outcomes: what passes must arrive now and then, or nothing ever goes on.
    proxy.cut_after = 400_000
    with JobCluster(bytes, nodes=[proxy.place], secret_file=secret_file) as cluster:
        data = [os.urandom(80_000) for _ in range(40)]
        for place in range(0, 40, 4):
            jobs = [cluster.submit(each) for each in data[place : place + 4]]
            assert [job() for job in jobs] == data[place : place + 4]
    assert proxy.connections > 5


@pytest.mark.parametrize("end", ["cut", "reset"])
def test_breaks_with_and_without_a_reset_lose_nothing(proxy: Proxy, secret_file: str, tmp_path: Any, end: str) -> None:
    """Neither is the end of the data, though it comes between two frames."""
    log = str(tmp_path / "log")
    with JobCluster(note_and_wait, nodes=[proxy.place], secret_file=secret_file) as cluster:
        jobs = [cluster.submit(log, number, 0.05) for number in range(20)]
        for moment in (5, 10, 15):
            eventually(lambda moment=moment: sum(job.status == job.Finished for job in jobs) >= moment)
            getattr(proxy, end)()
        assert [job() for job in jobs] == list(range(20))
    assert sorted(map(int, Path(log).read_text().split())) == list(range(20))


@pytest.mark.parametrize("direction", ["swallow_to", "swallow_from"])
def test_one_dead_direction_is_noticed_on_both_sides_and_the_job_is_kept(
    proxy: Proxy, node: Daemon, secret_file: str, tmp_path: Any, direction: str
) -> None:
    log = str(tmp_path / "log")
    with JobCluster(note_and_wait, nodes=[proxy.place], secret_file=secret_file, pulse_interval=2 * PULSE) as cluster:
        job = cluster.submit(log, 7, 4.0)
        eventually(lambda: job.status == job.Running)
        before = len(node.log.read_text())
        setattr(proxy, direction, True)
        proxy.is_blocked = True  # A new connection would be swallowed, too, and that is noticed after 10 s.
        eventually(lambda: any("no heartbeat" in each or "broke" in each for each in cluster.status().problems), 5)
        eventually(lambda: "disconnected from" in node.log.read_text()[before:], 5)
        setattr(proxy, direction, False)
        proxy.is_blocked = False
        assert job() == 7
    assert Path(log).read_text().split() == ["7"]


def test_a_port_that_accepts_and_says_nothing_does_not_hold_up_others(
    proxy: Proxy, node: Daemon, secret_file: str
) -> None:
    proxy.is_hole = True
    with JobCluster(double, nodes=[proxy.place, node.place], secret_file=secret_file) as cluster:
        job = cluster.submit(4)
        assert job.wait(8)  # The other one is given up after 10 s.
        assert job() == 8


@pytest.mark.parametrize(("seconds", "survives"), [(4 * PULSE, True), (14 * PULSE, False)])
def test_a_node_that_is_stopped_for_a_while(
    start_node: Start, secret_file: str, tmp_path: Any, seconds: float, survives: bool
) -> None:
    """SIGSTOP for 4 intervals of signs of life changes nothing; for 14 it is lost. There is one outcome either way."""
    node = start_node("--cpus", "1")
    log = str(tmp_path / "log")
    told: list[Any] = []
    with JobCluster(
        note_and_wait,
        nodes=[node.place],
        secret_file=secret_file,
        pulse_interval=PULSE,
        callback=lambda job: told.append(job.id),
    ) as cluster:
        job = cluster.submit_job_id("one", log, 1, 4 * PULSE + 2)
        eventually(lambda: job.status == job.Running)
        node.kill(signal.SIGSTOP)
        if survives:
            assert not job.wait(seconds)
        else:
            assert job.wait(seconds + 5)
            assert job.status == job.Abandoned
        node.kill(signal.SIGCONT)
        again = cluster.submit(log, 2, 0.0)
        assert again() == 2
        assert job.status == (job.Finished if survives else job.Abandoned)
    assert told.count("one") == 1


# Packets of discovery that mean no good


def test_a_flood_of_packets_is_borne(start_node: Start, secret_file: str) -> None:
    """Random, cut, replayed, ten minutes old, from the future, of other addresses: the node works on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start_node("--cpus", "1", "-p", str(port), "-i", "127.0.0.1")
    key = find_secret("", secret_file).for_udp()
    good = Packet(LOOK, b"i" * 16, time.time(), 0, "", "")

    def sealed(**fields: Any) -> bytes:
        return pack(key, Packet(**{**vars(good), **fields}), secrets.token_bytes(NONCE_BYTES))

    fresh = sealed()
    packets = [
        *(random.randbytes(size) for size in (0, 1, 8, 47, 288, 512, 600)),
        fresh[:100],
        sealed(time=time.time() - 600),
        sealed(time=time.time() + 600),
        sealed(kind=HERE, port=1, address="255.255.255.255"),
        sealed(port=9, address="224.0.0.1"),
        sealed(port=9, address="0.0.0.0"),
        sealed(port=9, address="127.0.0.1:1", udp=9, via="nonsense"),
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.3)
        for number in range(20_000):
            sock.sendto(packets[number % len(packets)], ("127.0.0.1", port))
        with JobCluster(double, nodes=[("127.0.0.1", port)], secret_file=secret_file) as cluster:
            assert cluster.submit(3)() == 6
        # It answers once for each that is new, and not at all for those of other times.
        sock.sendto(fresh, ("127.0.0.1", port))
        sock.sendto(fresh, ("127.0.0.1", port))
        answers = 0
        with pytest.raises(TimeoutError):
            while True:
                sock.recv(600)
                answers += 1
        assert answers <= 20_000 // len(packets) * 4 + 2


# A network in between


class Net(NamedTuple):
    client: Host
    router: Host
    one: Host
    two: Host


@pytest.fixture
def net(lab: Lab) -> Net:
    near, far = lab.lan(), lab.lan("far")
    router = lab.router("router")
    router.join(near, "10.1.0.254/24")
    router.join(far, "10.2.0.254/24")
    client, one, two = (lab.host(name) for name in ("client", "one", "two"))
    client.join(near, "10.1.0.1/24")
    client.gateway("10.1.0.254")
    for number, host in enumerate((one, two), 2):
        host.join(far, f"10.2.0.{number}/24")
        host.gateway("10.2.0.254")
        host.node()
    return Net(client, router, one, two)


BOTH = ["10.2.0.2", "10.2.0.3"]


def test_a_link_that_goes_down_and_up_again_loses_nothing(net: Net) -> None:
    program = net.client.program(nodes=BOTH, jobs=10, seconds=0.4, count=2, pulse_interval=PULSE)
    program.until("status", lambda told: told["pending"] <= 8)
    net.router.ip("link", "set", "eth1", "down")
    program.until("status", lambda told: len(told["problems"]) == 2)
    net.router.ip("link", "set", "eth1", "up")
    assert set(program.result_of_jobs()) == {"one", "two"}


@pytest.mark.parametrize("rule", ["ip saddr 10.2.0.2 drop", "ip daddr 10.2.0.2 drop"])
def test_one_direction_to_one_node_is_cut(net: Net, rule: str) -> None:
    """The other node goes on, and the job on this one comes when it is mended."""
    program = net.client.program(nodes=BOTH, jobs=2, seconds=4, count=2, pulse_interval=0.7)
    program.until("status", lambda told: told["running"] == 2)
    table = net.router.rules(rule, hook="forward")
    program.until("status", lambda told: len(told["problems"]) == 1)
    program.ask("submit 3 0")
    program.until("status", lambda told: told["pending"] == 1)
    net.router.lift(table)
    told = program.result_of_jobs()
    assert (sorted(told[:2]), told[2:]) == (["one", "two"], ["two"] * 3)


def test_connections_that_a_firewall_resets_come_back(net: Net) -> None:
    program = net.client.program(nodes=BOTH[:1], jobs=6, seconds=0.3, count=1)
    program.until("status", lambda told: told["pending"] <= 5)
    table = net.router.rules("tcp dport 51348 reject with tcp reset", hook="forward")
    program.until("status", lambda told: told["problems"])
    net.router.lift(table)
    assert program.result_of_jobs() == ["one"] * 6


def test_packets_are_lost_now_and_then(net: Net) -> None:
    net.router.rules("meta l4proto tcp numgen inc mod 20 == 0 drop", hook="forward")
    told = net.client.run(nodes=BOTH, bulk=1_000_000)
    assert told["results"] == [1_000_000]


def test_a_way_that_swallows_long_packets_is_used_with_short_ones(net: Net) -> None:
    """An MTU of 1300 in the middle, and nobody says so: what is too long disappears."""
    for host in (net.client, net.one):
        host.ip("link", "set", "eth0", "gso_max_segs", "1")  # Packets as they are on a wire, not several as one.
    net.router.rules("meta length > 1300 drop", hook="forward")
    told = net.client.run(nodes=BOTH[:1], bulk=1_000_000, pulse_interval=PULSE)
    assert (told["results"], told["done"]) == ([1_000_000], True)


def test_the_client_moves_to_another_address_while_jobs_run(net: Net) -> None:
    program = net.client.program(nodes=BOTH, jobs=2, seconds=2.0, count=2, pulse_interval=PULSE)
    program.until("status", lambda told: told["running"] == 2)
    net.client.ip("address", "delete", "10.1.0.1/24", "dev", "eth0")
    net.client.add_address("eth0", "10.1.0.99/24")
    net.client.gateway("10.1.0.254")
    assert sorted(program.result_of_jobs()) == ["one", "two"]


def test_a_name_whose_server_is_silent_holds_up_nobody(lab: Lab, net: Net) -> None:
    net.client.resolver("10.1.0.200")
    program = net.client.program(nodes=["10.2.0.2", "slow.example"], jobs=1)
    assert program.result_of_jobs() == ["one"]
    told = program.until("status", lambda told: any("name" in each for each in told["problems"]), 25)
    assert "slow.example:51348" in told["problems"][0]
    assert names(told) == ["one"]


def test_a_name_that_changes_its_address_is_followed(lab: Lab, net: Net) -> None:
    net.client.known_names({"worker": "10.2.0.2"})
    program = net.client.program(nodes=["worker"], jobs=1, pulse_interval=PULSE)
    assert program.result_of_jobs() == ["one"]
    net.client.known_names({"worker": "10.2.0.3"})
    table = net.router.rules("ip daddr 10.2.0.2 drop", hook="forward")
    program.until("status", lambda told: names(told) == ["two"])
    program.ask("submit 1 0")
    assert program.result_of_jobs() == ["one", "two"]
    net.router.lift(table)
