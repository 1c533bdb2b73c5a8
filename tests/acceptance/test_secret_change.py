"""A secret is replaced while everything runs: daemons accept the old one and the new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import gdispy
from gdispy import JobCluster, SharedJobCluster
from tests.support.daemons import Daemon, run_script

Start = Callable[..., Daemon]


@pytest.fixture
def secrets(tmp_path: Path) -> tuple[str, str, str]:
    """Files with three secrets: the old one, the new one, and that of a stranger."""
    found = []
    for name in ("old", "new", "strange"):
        path = tmp_path / name
        path.write_text(gdispy.generate_secret() + "\n")
        path.chmod(0o600)
        found.append(str(path))
    return found[0], found[1], found[2]


def works(node: Daemon, secret: str) -> bool:
    with JobCluster(abs, nodes=[node.place], secret_file=secret) as cluster:
        return bool(cluster.submit(-1)() == 1)


def test_node_works_for_programs_with_either_secret_and_for_no_other(
    start_node: Start, secrets: tuple[str, str, str]
) -> None:
    old, new, strange = secrets
    node = start_node("--cpus", "1", "--secret-file", new, secret=old)
    assert works(node, old) and works(node, new) and works(node, old)
    with JobCluster(abs, nodes=[node.place], secret_file=strange) as cluster:
        job = cluster.submit(-1)
        assert not job.wait(0.5)
        cluster.close(timeout=0, terminate=True)


def test_node_is_found_by_broadcast_with_either_secret(start_node: Start, secrets: tuple[str, str, str]) -> None:
    old, new, _ = secrets
    start_node("--cpus", "1", "--name", "found", "--secret-file", new, secret=old)
    for secret in (old, new):
        done = run_script("gdispy", "nodes", "--secret-file", secret, "-i", "127.0.0.1")
        assert done.returncode == 0 and b"found" in done.stdout
        with JobCluster(abs, nodes=["*"], secret_file=secret, ip_addr="127.0.0.1") as cluster:
            assert cluster.submit(-2)() == 2


def test_scheduler_serves_programs_with_either_secret(
    start_node: Start, start_scheduler: Start, secrets: tuple[str, str, str]
) -> None:
    old, new, _ = secrets
    node = start_node("--cpus", "1", "--secret-file", new, secret=old)
    scheduler = start_scheduler("-n", f"{node.place[0]}:{node.place[1]}", "--secret-file", old, secret=new)
    host, port = scheduler.place
    for secret in (old, new):
        with SharedJobCluster(abs, scheduler_node=host, scheduler_port=port, secret_file=secret) as cluster:
            assert cluster.submit(-3)() == 3
    assert run_script("gdispy", "status", "--secret-file", old, f"{host}:{port}").returncode == 0


def test_secret_that_cannot_be_read_is_told_at_once(secrets: tuple[str, str, str]) -> None:
    done = run_script("gdispy-node", "-i", "127.0.0.1", "--secret-file", secrets[0], "--secret-file", "/none")
    assert done.returncode == 2 and b"/none cannot be read" in done.stderr
    done = run_script(
        "gdispy", "nodes", "--secret-file", secrets[0], "--secret-file", secrets[1], "--only", "127.0.0.1:1"
    )
    assert done.returncode in (1, 2)
