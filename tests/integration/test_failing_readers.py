"""Where nobody reads from a worker, a computation or the spawner any more, by a defect, nobody waits for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gdispy import JobCluster
from gdispy.protocol import job_status
from tests.support.daemons import ended
from tests.support.waiting import eventually

_NODE = """
import gdispy.runtime.patching
import logging, sys
import gdispy.execution.process_manager
from gdispy.transport.credentials import find_secret
from gdispy.node import Node
from gdispy.execution.node_settings import NodeSettings

logging.basicConfig()
secret_file, prefix, where = sys.argv[1:]
secret = find_secret("", secret_file)
node = Node(NodeSettings(secret, 1, ip_addrs=("127.0.0.1",), node_port=0, dest_path_prefix=prefix))
real = getattr(gdispy.execution.process_manager.ProcessManager, where)
failures = []

def fail(*args):
    if not failures:
        failures.append(None)
        raise LookupError("what nobody has thought of")
    return real(*args)

setattr(gdispy.execution.process_manager.ProcessManager, where, fail)
node.run(lambda: print("ready", node.port, flush=True))
"""


def start(secret_file: str, tmp_path: Path, where: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", _NODE, secret_file, str(tmp_path / "prefix"), where]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("where", ["_take_results", "_worker_ended"])
def test_a_job_whose_worker_or_computation_nobody_reads_from_ends(where: str, secret_file: str, tmp_path: Path) -> None:
    node = start(secret_file, tmp_path, where)
    with ended(node):
        assert node.stdout is not None
        port = int(node.stdout.readline().split()[1])
        with JobCluster(_work, nodes=[f"127.0.0.1:{port}"], secret_file=secret_file) as made:
            first = made.submit(where == "_worker_ended")
            assert first.wait(20) and first.status in (job_status.ABANDONED, job_status.TERMINATED)
            second = made.submit(False)
            assert second.wait(20) and second.result == 5


def test_a_node_ends_that_does_not_hear_from_its_spawner_any_more(secret_file: str, tmp_path: Path) -> None:
    node = start(secret_file, tmp_path, "_spawner_lost")
    with ended(node):
        assert node.stdout is not None and node.stderr is not None
        node.stdout.readline()
        kill = [sys.executable, "-c", _KILL_SPAWNER, str(node.pid)]
        assert subprocess.run(kill, timeout=20).returncode == 0
        eventually(lambda: node.poll() is not None, 20)
        assert node.returncode and "nobody has thought of" in node.stderr.read()


_KILL_SPAWNER = """
import os, signal, sys
from gdispy.worker.process_tree import descendants
os.kill(descendants(int(sys.argv[1]))[0], signal.SIGKILL)
"""


def _work(dies: bool) -> int:
    import os

    if dies:
        os._exit(3)
    return 5
