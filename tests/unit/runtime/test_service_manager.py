"""What a service manager hears, with a socket in its place."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdispy.runtime.service_manager import ServiceManager, _watchdog_interval


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def test_start_and_end_are_reported_and_the_variables_are_gone(manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": str(manager.getsockname()), "OTHER": "x"}
    service = ServiceManager(environment)
    assert environment == {"OTHER": "x"}
    service.ready("a node at 127.0.0.1:1")
    assert manager.recv(1000) == f"READY=1\nSTATUS=a node at 127.0.0.1:1\nMAINPID={os.getpid()}".encode()
    service.stopping()
    assert manager.recv(1000).startswith(b"STOPPING=1\n")


def test_abstract_socket_is_written_with_an_at_sign() -> None:
    name = f"gdispy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(10)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert sock.recv(1000).startswith(b"STOPPING=1")


def test_nothing_happens_without_a_service_manager_or_if_it_is_gone(tmp_path: Path) -> None:
    ServiceManager({}).ready("x")
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).stopping()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_watchdog_is_fed_at_half_of_its_interval_if_it_is_meant_for_this_process(
    variables: dict[str, str], seconds: float
) -> None:
    assert _watchdog_interval(variables) == seconds and variables == {}
