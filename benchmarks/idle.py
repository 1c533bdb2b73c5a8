"""What a shared scheduler costs that holds many nodes and clients while nothing happens.

    python benchmarks/idle.py [--nodes 1000] [--clients 100] [--seconds 20]

The scheduler is a real `gdispy-scheduler` process. Nodes and clients are connections of this process: each has shaken
hands, said its first words, and goes on as real ones do: with signs of life, rare ones where nothing is under way, and
nodes with a word about what is free on them every two minutes. Goal: 1 %.
"""

from __future__ import annotations

import gevent.monkey

gevent.monkey.patch_all()

import argparse  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import secrets  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from gdispy.net import connect  # noqa: E402
from gdispy.node import AVAILABILITY_INTERVAL, MISSED_AT_REST  # noqa: E402
from gdispy.protocol.ids import Instance  # noqa: E402
from gdispy.protocol.messages import Availability, Hello, Inventory, Message, Resume  # noqa: E402
from gdispy.protocol.roles import CLIENT_TO_SCHEDULER, NODE_TO_SCHEDULER  # noqa: E402
from gdispy.transport.connection import Connection, Handlers  # noqa: E402
from gdispy.transport.credentials import find_secret, generate_secret  # noqa: E402

SCRIPTS = Path(sys.executable).parent


class Crowd:
    """Connections that do nothing but live."""

    def __init__(self, port: int, psk: bytes) -> None:
        self._port, self._psk = port, psk
        self.connections: list[Connection] = []
        self.lost: list[str] = []

    def _connect(self, roles: bytes, first: list[Message], then: list[Message]) -> Connection:
        def on_messages(connection: Connection, messages: list[Message]) -> None:
            connection.acknowledge(connection.taken())
            if any(isinstance(message, Hello) for message in messages):
                for message in then:
                    connection.send(message)

        handlers = Handlers(on_messages, lambda connection, reason: self.lost.append(reason))
        connection = connect("127.0.0.1", self._port, self._psk, roles, handlers)
        connection.start()
        for message in first:
            connection.send(message)
        self.connections.append(connection)
        return connection

    def add_node(self, number: int) -> None:
        hello = self._hello("node", f"node{number}", 16)
        connection = self._connect(NODE_TO_SCHEDULER, [hello], [Inventory([], [], [])])
        connection.rest(True)
        gevent.spawn(self._tell_availability, connection, 0.12 * number)

    def _tell_availability(self, connection: Connection, wait: float) -> None:
        gevent.sleep(wait)
        while True:
            connection.send(Availability([99.0, 1e9, 1e9, 1e9]))
            gevent.sleep(AVAILABILITY_INTERVAL * (MISSED_AT_REST + 1))

    def add_client(self, number: int) -> None:
        self._connect(CLIENT_TO_SCHEDULER, [self._hello("client", f"client{number}", 0), Resume([], [])], []).rest(True)

    def _hello(self, role: str, name: str, cpus: int) -> Hello:
        return Hello(role, Instance(secrets.token_bytes(16)), name, "0", "3.11", "linux", cpus, "", 5.0)


def processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a scheduler that is idle.")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with tempfile.TemporaryDirectory() as directory:
        secret_file = Path(directory, "secret")
        secret_file.touch(0o600)
        secret_file.write_text(generate_secret())
        words: list[Any] = ["--daemon", "-p", "0", "-i", "127.0.0.1", "-n", "127.0.0.1:1", "--secret-file", secret_file]
        words += ["--journal", Path(directory, "journal")]
        daemon = subprocess.Popen(
            [sys.executable, SCRIPTS / "gdispy-scheduler", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            assert daemon.stdout is not None
            port = int(daemon.stdout.readline().decode().rpartition(":")[2])
            measure(Crowd(port, find_secret("", str(secret_file)).for_tcp()), daemon.pid, options)
        finally:
            daemon.kill()
            daemon.wait()


def measure(crowd: Crowd, pid: int, options: Any) -> None:
    began = time.monotonic()
    for number in range(options.nodes):
        crowd.add_node(number)
    for number in range(options.clients):
        crowd.add_client(number)
    print(f"{len(crowd.connections)} connections in {time.monotonic() - began:.1f} s")
    gevent.sleep(6.0)
    before, since = processor_seconds(pid), time.monotonic()
    gevent.sleep(options.seconds)
    used = (processor_seconds(pid) - before) / (time.monotonic() - since)
    with open(f"/proc/{pid}/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    print(f"{options.nodes} nodes and {options.clients} clients, idle: {100 * used:.2f} % of a CPU (goal: 1 %)")
    print(f"{resident / 1e6:.0f} MB resident; {len(crowd.lost)} connections lost")


if __name__ == "__main__":
    main()
