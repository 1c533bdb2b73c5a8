"""What all abuse has in common: one connection after the other, until time is over or the target is too large."""

from __future__ import annotations

import os
from collections.abc import Callable

from gdispy.protocol import messages as said
from tests.attack.fuzz import come_from
from tests.attack.peer import CLIENT, COMING, Peer
from tests.attack.processes import resident_bytes
from tests.attack.stage import Stage, hello

#: Bytes of a target at which an attack stops.
LARGEST = 1_500_000_000

Act = Callable[[Stage, Peer], None]


def may_go_on(stage: Stage, peer: Peer) -> bool:
    """Whether an attack has time, its connection, and room."""
    if stage.target.process.is_up() and resident_bytes(stage.target.process.pid) > LARGEST:
        stage.count("stopped because of its size")
        return False
    return stage.left > 0 and not peer.closed


def greet(stage: Stage, peer: Peer, roles: bytes, instance: bytes = b"") -> None:
    peer.send(hello(roles.decode().partition(">")[0], instance or os.urandom(16)))
    if roles == CLIENT:
        peer.send(said.Resume([], []))
    if roles == COMING:
        peer.send(said.Inventory([], [], []))
    peer.read(0.1)


def again_and_again(act: Act, roles: bytes, stage: Stage) -> None:
    """The same on one connection after the other; each says hello first."""
    while stage.goes_on():
        peer = stage.connect(roles, come_from(stage) if roles == COMING else None)
        if peer is None:
            continue
        with peer:
            greet(stage, peer, roles)
            act(stage, peer)
            peer.read(0.05)
            if peer.reason:
                stage.row.details["refused"] = peer.reason[:200]
        if not may_go_on(stage, peer) and stage.left > 0 and "stopped because of its size" in stage.row.details:
            return
