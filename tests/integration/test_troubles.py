"""Jobs that wait, and nobody to run them: the log says why within five seconds, once."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob, JobCluster, generate_secret
from gdispy.config import VERSION
from gdispy.errors import PeerRejected
from gdispy.net import connect
from gdispy.protocol.address import Address
from gdispy.protocol.roles import SCHEDULER_TO_NODE
from gdispy.transport.connection import Handlers
from tests.support.daemons import Daemon, run_script
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
    assert text.count(f"127.0.0.1:{port}") == 1 and "start it there" in text
    assert "nodes=['local']" in text and "--local" in text


def test_nobody_found(caplog: pytest.LogCaptureFixture) -> None:
    text = told(caplog, nodes=["*"], node_port=51399, ip_addr="127.0.0.1", secret=generate_secret())
    assert "no gdispy-node was found" in text and "start gdispy-node" in text
    assert "nodes=['local']" in text and "--local" in text


def test_a_name_that_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    text = told(caplog, nodes=["no-such-host.invalid"], insecure=True)
    assert "no-such-host.invalid" in text and "not known" in text


def test_another_secret(node: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    text = told(caplog, nodes=[node.place], secret=generate_secret())
    assert f"{node.place[1]}" in text and "secret differs" in text


@pytest.mark.parametrize(("release", "shown"), [("9.1", r" \(gdispy 9\.1\)"), ("\x1b[2J", ""), ("", "")])
def test_another_version_is_named_with_its_release(release: str, shown: str) -> None:
    """The other side answers as a later gdispy would, or with something that is no version."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(
            target=_answer_with, args=(server, b"gdispy\0\7" + bytes([len(release)]) + release.encode())
        )
        thread.start()
        with pytest.raises(
            PeerRejected, match=rf"version 7 of the gdispy protocol{shown}, this side .*\(gdispy {VERSION}\)"
        ):
            connect(*server.getsockname(), bytes(32), SCHEDULER_TO_NODE, Handlers(lambda *_: None, lambda *_: None))
        thread.join(10)


def _answer_with(server: socket.socket, answer: bytes) -> None:
    client, _ = server.accept()
    with client:
        client.recv(4096)
        client.sendall(answer)


def test_no_gdispy_at_all(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = told(caplog, nodes=[server.getsockname()], insecure=True)
        port = server.getsockname()[1]
    assert "no node can run them" in text
    assert f"is TCP {port} open in its firewall, and does no other program listen there?" in text


def test_busy_with_another_client(node: Daemon, secret_file: str, caplog: pytest.LogCaptureFixture) -> None:
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file) as first:
        assert first.submit(-1)() == 1
        # Another program: clusters of one program with the same settings share the node.
        text = told(caplog, nodes=[node.place], secret_file=secret_file, ping_interval=7)
    assert f"busy: in use by {platform.node()} ({getpass.getuser()}: {os.path.basename(sys.argv[0])})" in text
    assert "share nodes between programs with gdispy-scheduler" in text


def test_the_computation_cannot_be_loaded(node: Daemon, secret_file: str, caplog: pytest.LogCaptureFixture) -> None:
    namespace = {"__name__": "module_that_is_only_here"}
    exec("def compute(n): return n", namespace)
    module = types.ModuleType("module_that_is_only_here")
    module.__dict__.update(namespace)
    sys.modules["module_that_is_only_here"] = module
    made = JobCluster(module.compute, nodes=[node.place], secret_file=secret_file, by_name=[module])
    try:
        made.submit(1)
        eventually(lambda: "No module named 'module_that_is_only_here'" in caplog.text, 5)
        assert f"install it there ({sys.executable} -m pip install ...)" in caplog.text
        assert any("module_that_is_only_here" in problem for problem in made.status().problems)
    finally:
        made.close(timeout=0, terminate=True)
        del sys.modules["module_that_is_only_here"]


def test_found_but_not_named(
    start_node: Callable[..., Daemon], secret_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    start_node("--cpus", "1", "-i", "127.0.0.1", "--name", "found")
    text = told(caplog, nodes=["192.0.2.*"], node_port=51348, ip_addr="127.0.0.1", secret_file=secret_file)
    assert "not matched by `nodes`" in text or "no gdispy-node was found" in text


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


def import_what_is_missing() -> None:
    import module_that_nobody_has  # type: ignore[import-not-found]  # noqa: F401


def test_a_module_that_is_missing_in_a_job_is_said_to_be_missing_there(node: Daemon, secret_file: str) -> None:
    with JobCluster(import_what_is_missing, nodes=[node.place], secret_file=secret_file) as made:
        job = made.submit()
        assert job.wait(20)
    *_, error, advice = job.exception.splitlines()
    assert error == "ModuleNotFoundError: No module named 'module_that_nobody_has'"
    assert advice.startswith(
        "The Python of this node does not have the module module_that_nobody_has: install it there"
    )
    assert sys.executable in advice


def test_a_secret_that_was_made_just_now_is_said_to_be_new(node: Daemon, tmp_path: Path) -> None:
    env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    for advice in (
        f"was created just now, in {tmp_path}/gdispy/secret: replace it with the file",
        f"is from {tmp_path}/gdispy/secret",
    ):
        done = run_script("gdispy", "-n", str(Address(*node.place)), "echo", env=env)
        text = done.stderr.decode()
        assert done.returncode == 1 and "secret differs" in text and advice in text
        assert text.count(str(Address(*node.place))) == 1


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
        assert caplog.text.count("abs: no node can run it; its jobs are terminated: setup of abs failed on") == 1
        # Whoever submits another one waits no longer for it.
        assert made.submit(4).wait(5)
    finally:
        made.close(timeout=0, terminate=True)
