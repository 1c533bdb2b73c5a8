"""An ssh tunnel is an address and a port like any other; here a proxy stands for it.

program (127.0.0.1:P) <─ tunnel ─ 127.0.0.1:Q <─ node, which knows only Q     as by `ssh -R Q:127.0.0.1:P`
program ─> 127.0.0.1:Q ─ tunnel ─> node (127.0.0.1:P)                          as by `ssh -L Q:127.0.0.1:P`
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from gdispy import JobCluster
from tests.support.daemons import Daemon
from tests.support.proxy import Proxy
from tests.support.waiting import eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_node_comes_to_a_program_through_a_tunnel_that_breaks_at_times(
    start_node: Callable[..., Daemon], secret_file: str
) -> None:
    port = free_port()
    with Proxy(("127.0.0.1", port)) as tunnel:
        node = start_node("-i", "127.0.0.1", "--connect", f"127.0.0.1:{tunnel.place[1]}")
        # The tunnel is there, and nobody is at its other end.
        eventually(lambda: "--connect 127.0.0.1:" in node.log.read_text())
        with JobCluster(abs, nodes=["*"], port=port, secret_file=secret_file) as cluster:
            assert cluster.submit(-1)() == 1
            for number in range(3):
                tunnel.cut()
                assert cluster.submit(-number)() == number


def test_a_program_reaches_a_node_through_a_tunnel(start_node: Callable[..., Daemon], secret_file: str) -> None:
    with (
        Proxy(start_node().place) as tunnel,
        JobCluster(abs, nodes=[f"localhost:{tunnel.place[1]}"], secret_file=secret_file) as cluster,
    ):
        assert cluster.submit(-1)() == 1


def test_programs_of_one_machine_take_other_ports_where_theirs_is_in_use(secret_file: str) -> None:
    port = free_port()
    clusters = [JobCluster(abs, nodes=["*"], port=port, secret_file=secret_file, ping_interval=n) for n in (1, 2, 3)]
    try:
        ports = [eventually(lambda each=each: each._engine.scheduler._finder.listening_port) for each in clusters]
        assert ports[0] == port
        assert len(set(ports)) == 3
    finally:
        for each in clusters:
            each.close(timeout=0, terminate=True)


def test_without_a_secret_and_for_this_machine_alone_nobody_listens_elsewhere(secret_file: str) -> None:
    for options, host in (({"insecure": True}, "127.0.0.1"), ({"nodes": ["127.0.0.1"]}, None)):
        given = {"nodes": ["*"], "port": free_port(), **({} if "insecure" in options else {"secret_file": secret_file})}
        with JobCluster(abs, **{**given, **options}) as cluster:
            seeker = cluster._engine.scheduler._finder
            if host:
                eventually(lambda seeker=seeker: seeker.listening_port)
            listener = seeker._listener
            assert (listener and listener.host) == host
