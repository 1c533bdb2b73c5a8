"""Abuse by false nodes, and by schedulers of a node; see `abuse.py`."""

from __future__ import annotations

import os

from gdispy.protocol import messages as said
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.limits import COLUMN_LIMIT
from tests.attack.abusing import may_go_on
from tests.attack.fuzz import come_from, good_computation
from tests.attack.peer import COMING, Peer
from tests.attack.stage import Stage, hello

# False nodes


def fence(stage: Stage, peer: Peer) -> None:
    """Say that somebody else has a computation which this node has nothing to do with."""
    honest = stage.target.honest
    if honest is not None:
        peer.send(said.Fenced(ComputationId(honest.computation)), said.Released(ComputationId(honest.computation)))
        stage.tried()
        peer.read(0.1)


def foreign_ends(stage: Stage, peer: Peer) -> None:
    """Report ends of jobs that are on other nodes, for each job and attempt that there may be."""
    honest = stage.target.honest
    if honest is None:
        return
    jobs = list(range(1, 3000))
    ones, nothing = [1] * len(jobs), [b""] * len(jobs)
    times = [0.0] * len(jobs)
    ended = [said.Ended.tag, honest.computation, jobs, ones, [11] * len(jobs), [b"wrong"] * len(jobs), nothing, nothing]
    peer.send([*ended, [""] * len(jobs), times, times, [0] * len(jobs), [False] * len(jobs), "", b""])
    peer.send([said.Returned.tag, honest.computation, jobs, ones])
    peer.send([said.Started.tag, honest.computation, jobs, ones, times, "", b""])
    for job in range(1, 200):
        peer.send([said.Progress.tag, honest.computation, job, 1, 1 << 40, b"x", "", b""])
    stage.tried(len(jobs))
    peer.read(0.1)


def many_nodes(stage: Stage) -> None:
    """Hundreds of nodes that come and offer millions of CPUs, and take what they are given and are silent."""
    peers: list[Peer] = []
    while stage.goes_on() and len(peers) < 300:
        peer = stage.connect(COMING, come_from(stage))
        if peer is not None:
            peer.send(hello("node", os.urandom(16), cpus=1 << 20, name="n" * 255), said.Inventory([], [], []))
            peers.append(peer)
            stage.tried()
    for peer in peers:
        peer.close()


# Schedulers of a node


def fill_node(stage: Stage, peer: Peer) -> None:
    """Thousands of computations and jobs on a node."""
    for _ in range(300):
        if not may_go_on(stage, peer):
            break
        computation = ComputationId(os.urandom(8))
        whole, arguments = good_computation(computation)
        peer.send(whole, [12, computation, list(range(1, 1001)), [1] * 1000, [arguments[0]] * 1000, []])
        peer.send([said.Cancel.tag, computation, list(range(2, 1001)), [1] * 999])
        peer.read()
        stage.tried(1000)


def unknown_jobs_of_node(stage: Stage, peer: Peer) -> None:
    """Cancel for jobs that have not come, which a node remembers to end on arrival, and the rest for no jobs at all."""
    computation = ComputationId(os.urandom(8))
    whole, _ = good_computation(computation)
    peer.send(whole)
    for turn in range(100):
        if not may_go_on(stage, peer):
            break
        jobs = list(range(turn * COLUMN_LIMIT + 1, (turn + 1) * COLUMN_LIMIT + 1))
        peer.send([said.Cancel.tag, computation, jobs, [1] * len(jobs)])
        peer.send([said.OutcomesAcked.tag, computation, jobs, [1] * len(jobs)])
        peer.read()
        stage.tried(2 * len(jobs))
