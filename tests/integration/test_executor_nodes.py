"""Executors with a number of CPUs, whose nodes leave and come."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from gdispy import Executor
from gdispy.protocol.address import Address
from tests.support.daemons import Daemon


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_node_that_is_started_again_is_used_again(
    start_node: Callable[..., Daemon], secret_file: str, number: signal.Signals
) -> None:
    node = start_node("--cpus", "2")
    place = str(Address(*node.place))
    with Executor([place], max_workers=2, secret_file=secret_file) as executor:
        assert executor.submit(abs, -1).result(20) == 1
        node.kill(number)
        node.process.wait(20)
        start_node("--cpus", "2", "-p", str(node.place[1]))
        assert executor.submit(abs, -2).result(40) == 2


def test_node_that_was_not_needed_is_used_instead_of_one_that_leaves(
    start_node: Callable[..., Daemon], secret_file: str
) -> None:
    nodes = [start_node("--cpus", "1") for _ in range(2)]
    places = [str(Address(*node.place)) for node in nodes]
    with Executor(places, max_workers=1, secret_file=secret_file) as executor:
        assert executor.submit(abs, -1).result(20) == 1
        [used] = [node.port for node in executor.cluster.status().nodes]
        for node in nodes:
            if node.place[1] == used:
                node.kill(signal.SIGTERM)
        assert executor.submit(abs, -2).result(40) == 2
