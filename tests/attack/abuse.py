"""Those with the secret use what they are allowed to use without measure, or name what belongs to others.

Goals: others go on working, nothing ends, and memory stays bounded. An attack stops where its target has become very
large, so that the machine goes on, too. Here are the clients; `abuse_by_nodes.py` has the others.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from gdispy.protocol import messages as said
from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.limits import COLUMN_LIMIT
from tests.attack.abuse_by_nodes import fence, fill_node, foreign_ends, many_nodes, unknown_jobs_of_node
from tests.attack.abusing import Act, again_and_again, greet, may_go_on
from tests.attack.fuzz import good_computation
from tests.attack.peer import CLIENT, COMING, POSED, SCHEDULER, Peer
from tests.attack.site import JOURNAL, LONE_NODE, NODE, PROGRAM
from tests.attack.site import SCHEDULER as SHARED
from tests.attack.stage import Attack, Stage, hello

JOBS, BYTES_EACH = 100_000, 10_000
COMPUTATIONS = 10_000
#: A node that is not there, so that jobs for it wait.
NOWHERE = "127.250.250.250:1"


def bring(peer: Peer, nodes: list[str], **changes: object) -> ComputationId:
    """Bring a computation of one's own to a scheduler."""
    computation = ComputationId(os.urandom(8))
    whole, _ = good_computation(computation)
    peer.send(said.Open(computation, nodes, False), replace(whole, **changes))
    return computation


# Clients of a shared scheduler


def many_jobs(stage: Stage, peer: Peer) -> None:
    """A hundred thousand jobs that wait, a gigabyte of arguments."""
    computation = bring(peer, [NOWHERE])
    arguments = os.urandom(BYTES_EACH)
    for first in range(1, JOBS, 500):
        if not may_go_on(stage, peer):
            break
        peer.send([12, computation, list(range(first, first + 500)), [1] * 500, [arguments] * 500, []])
        peer.read()
        stage.tried(500)


def many_computations(stage: Stage, peer: Peer) -> None:
    for _ in range(COMPUTATIONS):
        if not may_go_on(stage, peer):
            break
        bring(peer, [NOWHERE], name="x" * 1000)
        peer.read()
        stage.tried()


def many_names(stage: Stage, peer: Peer) -> None:
    """Twenty thousand nodes in one computation, none of which is there."""
    names = [f"127.{100 + (each >> 16)}.{each >> 8 & 255}.{each & 255}:1" for each in range(20_000)]
    bring(peer, names)
    stage.tried(len(names))
    peer.read(0.5)


def patterns(stage: Stage, peer: Peer) -> None:
    """Patterns that take for ever where they are matched without care."""
    bad = stage.chance.choice(("*" * 40 + "x", "*1" * 40 + "x", "*.*" * 20, "*7*" * 25 + "!"))
    bring(peer, [bad] * stage.chance.choice((1, 100)))
    stage.tried()
    peer.read(0.2)


def questions(stage: Stage, peer: Peer) -> None:
    """Questions without end, whose answers nobody reads."""
    computation = bring(peer, ["*"])
    node = Instance(os.urandom(16))
    for number in range(100_000):
        if number % 100 == 0 and not may_go_on(stage, peer):
            break
        some = [
            said.StatusRequest(computation, number),
            said.NodeCommand(computation, number, "jobs", node, 0.0),
            said.OverviewRequest(number),
        ]
        peer.send(*some, said.PutFile(computation, number, node, [], []))
        stage.tried(4)


def unknown_jobs(stage: Stage, peer: Peer) -> None:
    """Cancel, JobNames, OutcomesAcked and ProgressAcked for millions of jobs that do not exist."""
    computation = bring(peer, [NOWHERE])
    for turn in range(100):
        if not may_go_on(stage, peer):
            break
        jobs = list(range(turn * COLUMN_LIMIT + 1, (turn + 1) * COLUMN_LIMIT + 1))
        peer.send([said.Cancel.tag, computation, jobs, [0] * len(jobs)])
        peer.send([said.JobNames.tag, computation, jobs, [b"name of a job"] * len(jobs)])
        peer.send([said.OutcomesAcked.tag, computation, jobs, [1] * len(jobs)])
        peer.send([said.ProgressAcked.tag, computation, jobs, [1] * len(jobs), [1] * len(jobs)])
        peer.read()
        stage.tried(4 * len(jobs))


def resume_much(stage: Stage, peer: Peer) -> None:
    """Resume with as many computations and jobs as fit."""
    computations = [os.urandom(8) for _ in range(2_000)]
    peer.send([said.Resume.tag, computations, [list(range(1, 200)) for _ in computations]])
    stage.tried(len(computations))
    peer.read(0.3)


def guessed_claims(stage: Stage) -> None:
    """Claim computations of others by guessed tokens."""
    honest = stage.target.honest
    roles = CLIENT if stage.target.roles.startswith("client") else SCHEDULER
    while stage.goes_on() and honest is not None:
        tokens = [bytes(16), b"\xff" * 16, *(os.urandom(16) for _ in range(500))]
        claims = [[honest.computation, token, stage.chance.choice((1, 2, (1 << 53) - 1))] for token in tokens]
        peer = stage.connect(roles)
        if peer is not None:
            with peer:
                role = stage.chance.choice(("recoverer", roles.decode().partition(">")[0]))
                peer.send(hello(role, os.urandom(16), claims=claims))
                for each in peer.read(0.2):
                    if isinstance(each, said.Inventory) and honest.computation in each.computations:
                        stage.accepted("a computation for a guessed token")
                stage.tried(len(claims))


def foreign_instance(stage: Stage) -> None:
    """Say to be somebody else, who is connected."""
    honest = stage.target.honest
    roles = CLIENT if stage.target.roles.startswith("client") else SCHEDULER
    while stage.goes_on() and honest is not None:
        peer = stage.connect(roles)
        if peer is not None:
            with peer:
                POSED.add(honest.instance)
                peer.send(hello(roles.decode().partition(">")[0], honest.instance))
                peer.send(said.Resume([], [])) if roles == CLIENT else None
                peer.send(said.Release(ComputationId(honest.computation)))
                peer.read(0.2)
                stage.tried()


def foreign_computation(stage: Stage, peer: Peer) -> None:
    """Open, fill and release the computation of somebody else."""
    honest = stage.target.honest
    if honest is None:
        return
    theirs = ComputationId(honest.computation)
    whole, arguments = good_computation(theirs)
    chance = stage.chance
    peer.send(
        *chance.sample(
            [
                said.Open(theirs, [NOWHERE], False),
                whole,
                said.Cancel(theirs, list(range(1, 2000)), [0] * 1999),  # type: ignore[arg-type]
                said.OutcomesAcked(theirs, list(range(1, 2000)), [1] * 1999),  # type: ignore[arg-type]
                said.Run(theirs, list(range(1, 4)), [1] * 3, list(arguments)),  # type: ignore[arg-type]
                said.Release(theirs),
                said.Resume([theirs], [[]]),
            ],
            chance.randint(1, 7),
        )
    )
    stage.tried()
    peer.read(0.1)


def many_clients(stage: Stage) -> None:
    """Hundreds of clients, each of which stays."""
    peers: list[Peer] = []
    while stage.goes_on() and len(peers) < 1_500:
        peer = stage.connect(CLIENT)
        if peer is not None:
            greet(stage, peer, CLIENT)
            peers.append(peer)
            stage.tried()
    for peer in peers:
        peer.close()


def attacks() -> list[Attack]:
    by_clients: dict[str, tuple[Act, tuple[str, ...], float]] = {
        "100,000 jobs": (many_jobs, (SHARED, JOURNAL), 2),
        "10,000 computations": (many_computations, (SHARED, JOURNAL), 1),
        "20,000 names": (many_names, (SHARED,), 1),
        "patterns of stars": (patterns, (SHARED,), 1),
        "questions": (questions, (SHARED,), 1),
        "jobs that there are not": (unknown_jobs, (SHARED, JOURNAL), 1),
        "large Resume": (resume_much, (SHARED,), 0.5),
        "computations of others": (foreign_computation, (SHARED, JOURNAL), 1),
    }
    found = [
        Attack("abuse", name, target, partial(again_and_again, act, CLIENT), weight, 0.8)
        for name, (act, targets, weight) in by_clients.items()
        for target in targets
    ]
    for target in (SHARED, PROGRAM):
        found.append(Attack("abuse", "Fenced by others", target, partial(again_and_again, fence, COMING), 0.5, 0.6))
        ends = partial(again_and_again, foreign_ends, COMING)
        found.append(Attack("abuse", "ends of others' jobs", target, ends, 0.5, 0.6))
        found.append(Attack("abuse", "nodes that do nothing", target, many_nodes, 0.5, 0.6))
    for target in (JOURNAL, NODE):
        found.append(Attack("abuse", "guessed tokens", target, guessed_claims, 0.5, 0.6))
        found.append(Attack("abuse", "instance of another", target, foreign_instance, 0.5, 0.6))
    found.append(Attack("abuse", "many clients", SHARED, many_clients, 0.5, 0.8))
    of_node = {"100,000 jobs": fill_node, "jobs that there are not": unknown_jobs_of_node}
    for name, act in of_node.items():
        found.append(Attack("abuse", name, LONE_NODE, partial(again_and_again, act, SCHEDULER), 1, 0.8))
    return found
