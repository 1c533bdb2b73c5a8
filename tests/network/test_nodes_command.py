"""`gdispy nodes`: what is found, and why a node cannot be used."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gdispy import config
from gdispy.protocol.handshake import MAGIC
from tests.support.daemons import run_script
from tests.support.lab import Lab
from tests.support.waiting import eventually


def test_table_shows_nodes_with_version_cpus_and_load(lab: Lab) -> None:
    client, one, two = lab.simple("client", "one", "two")
    one.node()
    two.node("--name", "second", port=40000)
    result = client.command("gdispy", "nodes")
    assert result.returncode == 0, result.stderr
    heading, *rows = result.stdout.splitlines()
    assert heading.split() == ["node", "address", "gdispy", "Python", "CPUs", "busy", "idle", "state"]
    # The second hears at a port of its own, and is found only where it is named.
    assert [row.split()[:6] for row in rows] == [["one", "10.1.0.2:51348", config.VERSION, config.PYTHON, "1", "0"]]
    listed = client.command("gdispy", "nodes", "--json", "10.1.0.3:40000", "10.1.0.9")
    found = json.loads(listed.stdout)
    assert [each["name"] for each in found] == ["one", "second", ""]
    assert found[1]["address"] == "10.1.0.3:40000"
    assert found[2]["problem"].startswith("10.1.0.9:51348 cannot be reached")


def test_why_nodes_cannot_be_used(lab: Lab) -> None:
    client, busy, closed, hidden = lab.simple("client", "busy", "closed", "hidden")
    for host in (busy, hidden):
        host.node()
    closed.node("--service_start", "00:00", "--service_stop", "00:01", "--service_end", "00:02")
    table = hidden.rules("tcp dport 51348 drop")
    program = client.program(nodes=["10.1.0.2"], seconds=20.0)
    program.until("status", lambda told: told["nodes"])

    def problems() -> dict[str, str]:
        found = json.loads(client.command("gdispy", "nodes", "--json").stdout)
        return {each["name"]: each["problem"] for each in found}

    told = problems()
    assert told["busy"].startswith("in use by ")
    assert "10.1.0.4:51348 cannot be reached: no answer within" in told["hidden"]
    assert told["closed"] in ("service hours", "")  # For one minute of the day it does.
    program.close()
    hidden.lift(table)
    eventually(lambda: problems()["busy"] == "", 10)


def test_nobody_there(lab: Lab) -> None:
    (client,) = lab.simple("client")
    result = client.command("gdispy", "nodes")
    assert (result.returncode, "no gdispy-node was found" in result.stdout) == (1, True)


@contextmanager
def a_port_that_says(data: bytes) -> Iterator[int]:
    import threading

    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.recv(64)
            connection.sendall(data)
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def listed(secret_file: str, *words: Any) -> list[dict[str, Any]]:
    result = run_script("gdispy", "nodes", "--json", "--only", "--secret-file", secret_file, *words)
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_another_version_and_another_secret_are_named(secret_file: str, tmp_path: Any) -> None:
    with a_port_that_says(MAGIC[:6] + b"\0\x63" + bytes(72)) as port:
        (found,) = listed(secret_file, f"127.0.0.1:{port}")
        assert "speaks version 99 of the gdispy protocol" in found["problem"]
    with a_port_that_says(b"") as port:
        (found,) = listed(secret_file, f"127.0.0.1:{port}")
        assert "its secret differs" in found["problem"]


def test_names_that_are_not_known_are_told(secret_file: str) -> None:
    (found,) = listed(secret_file, "nowhere.invalid")
    assert found["problem"].startswith("the host name in nowhere.invalid:51348 cannot be resolved")
