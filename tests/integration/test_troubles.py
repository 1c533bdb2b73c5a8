"""Jobs that wait, and nobody to run them: the log says why within five seconds, once."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob, JobCluster, generate_secret
from tests.support.daemons import Daemon
from tests.support.waiting import eventually


def told(caplog: pytest.LogCaptureFixture, **options: Any) -> str:
    """What the log says of a cluster whose job cannot run."""
    caplog.clear()
    made = JobCluster(abs, **options)
    try:
        job = made.submit(-1)
        eventually(lambda: "no node can run them" in caplog.text, 5)
        eventually(lambda: made.status().problems or True)
        time_told = time.monotonic()
        while time.monotonic() < time_told + 1 and not job.wait(0.2):
            pass
        assert caplog.text.count("no node can run them") == 1
        return caplog.text
    finally:
        made.close(timeout=0, terminate=True)


def test_nobody_there(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    text = told(caplog, nodes=[("127.0.0.1", port)], insecure=True)
    assert f"127.0.0.1:{port}" in text and "start it there" in text


def test_nobody_found(caplog: pytest.LogCaptureFixture) -> None:
    text = told(caplog, nodes=["*"], node_port=51399, ip_addr="127.0.0.1", secret=generate_secret())
    assert "no gdispy-node was found" in text and "start gdispy-node" in text


def test_a_name_that_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    text = told(caplog, nodes=["no-such-host.invalid"], insecure=True)
    assert "no-such-host.invalid" in text and "not known" in text


def test_another_secret(node: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    text = told(caplog, nodes=[node.place], secret=generate_secret())
    assert f"{node.place[1]}" in text and "secret differs" in text


def test_no_gdispy_at_all(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = told(caplog, nodes=[server.getsockname()], insecure=True)
    assert "no node can run them" in text


def test_busy_with_another_client(node: Daemon, secret_file: str, caplog: pytest.LogCaptureFixture) -> None:
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file) as first:
        assert first.submit(-1)() == 1
        # Another program: clusters of one program with the same settings share the node.
        text = told(caplog, nodes=[node.place], secret_file=secret_file, ping_interval=7)
    assert "busy" in text


def test_the_computation_cannot_be_loaded(node: Daemon, secret_file: str, caplog: pytest.LogCaptureFixture) -> None:
    namespace = {"__name__": "module_that_is_only_here"}
    exec("def compute(n): return n", namespace)
    import sys
    import types

    module = types.ModuleType("module_that_is_only_here")
    module.__dict__.update(namespace)
    sys.modules["module_that_is_only_here"] = module
    made = JobCluster(module.compute, nodes=[node.place], secret_file=secret_file)
    try:
        made.submit(1)
        eventually(lambda: "No module named 'module_that_is_only_here'" in caplog.text, 5)
        assert any("module_that_is_only_here" in problem for problem in made.status().problems)
    finally:
        made.close(timeout=0, terminate=True)
        del sys.modules["module_that_is_only_here"]


def test_found_but_not_named(
    start_node: Callable[..., Daemon], secret_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    start_node("--cpus", "1", "-i", "127.0.0.1", "--name", "found")
    text = told(caplog, nodes=["192.0.2.*"], node_port=51348, ip_addr="127.0.0.1", secret_file=secret_file)
    assert "`nodes` does not name it" in text or "no gdispy-node was found" in text


def test_trouble_ends_when_a_node_comes(
    start_node: Callable[..., Daemon], secret_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = start_node("--cpus", "1")
    daemon.stop()
    with JobCluster(abs, nodes=[daemon.place], secret_file=secret_file) as made:
        job = made.submit(-3)
        eventually(lambda: "no node can run them" in caplog.text, 5)
        start_node("--cpus", "1", "-p", str(daemon.place[1]))
        assert job.wait(20) and job.result == 3
        assert not made.status().problems


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"nodes": 5}, "nodes must be a list"),
        ({"nodes": [5]}, "not a host"),
        ({"nodes": ["host:99999"]}, "not a port"),
        ({"node_port": 70000}, "node_port"),
        ({"pulse_interval": 0.01}, "pulse_interval"),
        ({"ping_interval": True}, "ping_interval"),
        ({"callback": lambda: None}, "exactly one argument"),
        ({"callback": 5}, "must be a function"),
        ({"depends": "file"}, "must be a list"),
        ({"isolation": "thread"}, "isolation"),
        ({"dest_path": "../up"}, "dest_path"),
        ({"fault_recover": 5}, "fault_recover must be"),
        ({"keyfile": "key"}, "keyfile is given without certfile"),
        ({"certfile": "/no/such/file"}, "certfile /no/such/file cannot be read"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_in_plain_words(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        JobCluster(abs, **{"nodes": ["127.0.0.1"], "insecure": True, **options})


def test_nodes_are_found_by_broadcast_also_those_that_start_later(
    start_node: Callable[..., Daemon], secret_file: str
) -> None:
    secret = {"secret_file": secret_file, "ip_addr": "127.0.0.1"}
    with JobCluster(abs, nodes=["*"], **secret) as made:
        job = made.submit(-1)
        start_node("--cpus", "1", "-i", "127.0.0.1", "--name", "first")
        assert job.wait(5) and job.result == 1
        start_node("--cpus", "1", "-i", "127.0.0.1", "--name", "second")
        eventually(lambda: {node.name for node in made.status().nodes} >= {"first", "second"}, 5)


def test_jobs_of_a_computation_that_no_node_can_load_end_with_the_reason(
    node: Daemon, secret_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> int:
        raise OSError("the disk is on fire")

    made = JobCluster(abs, nodes=[node.place], setup=fails, secret_file=secret_file)
    try:
        jobs = [made.submit(number) for number in range(3)]
        assert made.wait(20)
        assert {job.status for job in jobs} == {DispyJob.Terminated}
        assert all("setup of abs failed" in job.exception for job in jobs)
        assert all(job.exception.endswith("OSError: the disk is on fire\n") for job in jobs)
        assert caplog.text.count("abs: no node can run it, so its jobs end: setup of abs failed on") == 1
        # Whoever submits another one waits no longer for it.
        assert made.submit(4).wait(5)
    finally:
        made.close(timeout=0, terminate=True)
