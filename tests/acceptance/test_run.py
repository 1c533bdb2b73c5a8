"""`gdispy` ends where no node can be expected any more, and waits where one can."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdispy import generate_secret
from tests.support.daemons import SCRIPTS, Daemon, run_script
from tests.support.waiting import eventually


@pytest.fixture
def other_secret(tmp_path: Path) -> str:
    path = tmp_path / "other"
    path.touch(0o600)
    path.write_text(generate_secret())
    return str(path)


def place(node: Daemon) -> str:
    return f"{node.place[0]}:{node.place[1]}"


def test_nodes_with_another_secret_end_it_with_status_1(
    node: Daemon, start_node: Callable[..., Daemon], other_secret: str
) -> None:
    second = start_node("--cpus", "1")
    done = run_script("gdispy", "-n", place(node), "-n", place(second), "--secret-file", other_secret, "echo")
    told = done.stderr.decode()
    assert done.returncode == 1 and done.stdout == b""
    assert "no node can run the jobs, and no other node is expected" in told and "Traceback" not in told
    assert f"{place(node)}: " in told and f"{place(second)}: " in told and "secret" in told


@pytest.fixture
def other_version() -> Iterator[str]:
    """What answers as a node of another version does."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.recv(4096)
                client.sendall(b"gdispy99" * 32)

    thread = threading.Thread(target=answer)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(10)


def test_nodes_of_another_version_end_it_with_status_1(other_version: str, secret_file: str) -> None:
    done = run_script("gdispy", "-n", other_version, "--secret-file", secret_file, "-a", "1", "-a", "2", "echo")
    assert done.returncode == 1
    assert f"{other_version}: " in done.stderr.decode() and "version" in done.stderr.decode()


def test_a_node_that_refuses_the_files_ends_it_with_status_1(
    start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes(100_000))
    daemon = start_node("--cpus", "1", "--max_file_size", "80k")
    words = ["-n", place(daemon), "--secret-file", secret_file, "-f", tmp_path / "large", "echo"]
    done = run_script("gdispy", *words)
    assert done.returncode == 1 and "large" in done.stderr.decode()
    assert run_script("gdispy", *words[:4], "-a", "1", "echo").stdout == b"1\n"


def test_a_local_node_that_cannot_start_ends_it_with_status_1(tmp_path: Path) -> None:
    (tmp_path / f"gdispy-{os.geteuid()}").touch()  # A file where the directory of nodes should be.
    done = run_script("gdispy", "--local", "echo", env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 1 and "the local node could not start" in done.stderr.decode()


def test_one_node_that_may_still_come_is_waited_for(
    node: Daemon, start_node: Callable[..., Daemon], secret_file: str, other_secret: str
) -> None:
    """The first node refuses for good; the second is not there yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    words = ["-n", place(node), "-n", f"127.0.0.1:{port}", "--secret-file", other_secret, "-a", "came", "echo"]
    command = [sys.executable, str(SCRIPTS / "gdispy"), "-d", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        eventually(lambda: "no node can run" in read_some(process), 20, "it was not told that jobs wait")
        assert process.poll() is None
        start_node("-p", str(port), "--cpus", "1", secret=other_secret)
        out, told = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0 and out == b"came\n", told


def test_the_wait_for_nodes_can_be_limited() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for text, code in (("4", 1), ("soon", 2)):
        done = run_script("gdispy", "-n", f"127.0.0.1:{port}", "--insecure", "--wait-for-nodes", text, "echo")
        assert done.returncode == code
        told = done.stderr.decode()
        if code == 2:
            assert "--wait-for-nodes 'soon' is not a time" in told
            continue
        assert "gdispy: no node could be used for 4 s (--wait-for-nodes).\n" in told
        assert f"127.0.0.1:{port}" in told and "or use this machine: --local\n" in told and "nodes=[" not in told


def test_hosts_in_the_log_are_told_apart(start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path) -> None:
    nodes = [start_node("--cpus", "1"), start_node("--cpus", "1")]
    words = [*(word for node in nodes for word in ("-n", place(node))), "--secret-file", secret_file]
    log = tmp_path / "log"
    done = run_script("gdispy", *words, "--joblog", log, "sleep", ":::", *[".1"] * 20)
    hosts = [line.split("\t")[1] for line in log.read_text().splitlines()[1:]]
    assert done.returncode == 0 and len(hosts) == 20 and {*map(place, nodes)} <= {*hosts}
    assert {*hosts[-5:]} <= {*map(place, nodes)}


def read_some(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    return process.stderr.readline().decode()
