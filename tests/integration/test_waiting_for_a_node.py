"""A client that waits for a busy node asks seldom, and has the node as soon as it is free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from gdispy import JobCluster
from gdispy import scheduler as scheduler_module
from gdispy.config import VERSION
from gdispy.protocol.messages import Hello
from gdispy.protocol.texts import BUSY
from gdispy.protocol.wire import Bye
from gdispy.transport.credentials import find_secret
from tests.attack.peer import SCHEDULER, Peer
from tests.support.daemons import Daemon, run_python
from tests.support.waiting import eventually

Start = Callable[..., Daemon]

_HOLDER = """
import os, sys, time
from gdispy import JobCluster
with JobCluster(abs, nodes=[sys.argv[1]], secret_file=sys.argv[2]) as cluster:
    assert cluster.submit(-1)() == 1
    open(sys.argv[3], "w").close()
    while not os.path.exists(sys.argv[3] + ".go"):
        time.sleep(0.01)
"""


@pytest.mark.parametrize("how", ["named", "discovery"])
def test_a_waiting_client_asks_seldom_and_has_the_node_at_once_when_it_is_free(
    how: str, start_node: Start, secret_file: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[None] = []
    real = scheduler_module.connect
    monkeypatch.setattr(scheduler_module, "connect", lambda *args, **ways: attempts.append(None) or real(*args, **ways))
    node = start_node("--cpus", "1")
    held = tmp_path / "held"
    place = f"{node.place[0]}:{node.place[1]}"
    holder = threading.Thread(target=run_python, args=(_HOLDER, place, secret_file, held))
    holder.start()
    try:
        eventually(held.exists)
        nodes = [place] if how == "named" else ["*"]
        with JobCluster(abs, nodes=nodes, secret_file=secret_file, ip_addr="127.0.0.1") as waiting:
            job = waiting.submit(-3)
            eventually(lambda: len(attempts) >= 6, 10)
            # They were at 0, 0.1, 0.3, 0.7, 1.5 and 3.1 s, or after half of that: the next is 1.6 s later at least.
            assert not job.wait(1.0)
            assert len(attempts) <= 7  # A packet of the node, which it sends when it is asked, may bring about one.
            (tmp_path / "held.go").touch()
            holder.join(30)
            assert job.wait(1.0) and job.result == 3
    finally:
        (tmp_path / "held.go").touch()
        holder.join(30)


def test_a_program_that_is_refused_hears_why_and_nothing_that_takes_the_node_time(
    cluster: Callable[..., JobCluster], node: Daemon, secret_file: str
) -> None:
    made = cluster(abs)
    assert made.submit(-1)() == 1
    psk = find_secret("", secret_file).for_tcp()
    with Peer.connect(node.place, psk, SCHEDULER) as peer:
        peer.send(Hello("scheduler", b"", "other", VERSION, "3.11", "test", 0, "", 1.0))
        heard = peer.read(5)
        while not peer.closed and not peer.reason:
            heard += peer.read(1)
        assert peer.reason.startswith(BUSY)
        assert {type(each) for each in heard} <= {Hello, Bye}
