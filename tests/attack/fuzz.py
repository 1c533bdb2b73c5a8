"""Those with the secret say what nobody says: every kind of message, in every role, in random order.

An honest client with other computations works meanwhile. Goals: its results are right, and no daemon or program ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from gdispy.client.function_packing import joined
from gdispy.client.packaging import ComputationOptions, prepare
from gdispy.protocol import messages as said
from gdispy.protocol.messages import ALL, Hello, Message
from gdispy.worker import pickling
from tests.attack.peer import CLIENT, COMING, POSED, SCHEDULER, VISITOR, Peer, Refused
from tests.attack.site import COMING_FROM, JOURNAL, LONE_NODE, NODE, PROGRAM, SHARED_PROGRAM, STUB_HOST
from tests.attack.site import SCHEDULER as SHARED
from tests.attack.stage import Attack, Stage, hello
from tests.attack.values import ESCAPED, Known, Values

#: Messages of one connection at most, and how many of them are of the role's own kinds.
MOST, OWN = 40, 0.85

#: What each role says, by its names in `protocol/messages/`; those that are not there any more are left out.
_SAYS = {
    "client": "Hello Open Prepare Run Cancel Release Resume StatusRequest NodeCommand PutFile UseNode Uploaded Withdraw"
    " OutcomesAcked ProgressAcked JobNames OverviewRequest",
    "scheduler": "Hello Prepare FileContents Run Cancel Withdraw Recall OutcomesAcked ProgressAcked Release Limit"
    " PutFile Uploaded",
    "node": "Inventory MissingFiles Prepared Returned Started Progress Ended Released Cpus Availability Upload Reply"
    " Fenced",
    "visitor": "Hello OverviewRequest",
    "shared": "Accepted Unknown ResendRequest Status Notice NodeFound Reply Event Started Progress Ended Released"
    " Fenced Upload Overview ProgressAcked JobNames Inventory",
    "recoverer": "Hello Cancel Release OutcomesAcked ProgressAcked Run JobNames",
}


def kinds_of(role: str) -> list[type[Message]]:
    """The kinds of message that a role says."""
    return [getattr(said, name) for name in _SAYS[role].split() if hasattr(said, name)]


def known_of(stage: Stage) -> Known:
    """What an attacker knows at the beginning: the honest program's computation and instance among it."""
    honest = stage.target.honest
    known = Known(outside=str(stage.site.directory))
    if honest is not None:
        known.others, known.instances = [honest.computation], [honest.instance]
        POSED.add(honest.instance)
    known.computations = [stage.chance.randbytes(8) for _ in range(3)]
    return known


def converse(stage: Stage, peer: Peer, values: Values, role: str, greeting: list[Any]) -> None:
    """One connection: a greeting, and then anything."""
    chance = stage.chance
    peer.send(*greeting)
    values.known.learn(peer.read(0.05))
    for _ in range(chance.randint(1, MOST)):
        if peer.closed or stage.left <= 0:
            break
        kinds = kinds_of(role) if chance.random() < OWN else list(ALL)
        kind = chance.choice(kinds)
        peer.send(values.message(kind))
        stage.tried()
        stage.count(f"sent {kind.__name__}")
        if chance.random() < 0.3:
            values.known.learn(peer.read(0.01))
    values.known.learn(peer.read(0.02))
    stage.count("closed by it" if peer.closed else "left open by it")


def talk(stage: Stage, role: str, roles: bytes, greet: Callable[[Stage, Values], list[Any]], source: bool) -> None:
    """Connections of insiders, one after the other, some at the same time."""
    values = Values(stage.chance, known_of(stage))
    open_ones: list[Peer] = []
    while stage.goes_on():
        peer = stage.connect(roles, None if source else "")
        if peer is None:
            continue
        values.known.instances = [*values.known.instances[-6:], peer.instance]
        converse(stage, peer, values, role, greet(stage, values))
        open_ones.append(peer)
        if len(open_ones) > 4:
            open_ones.pop(stage.chance.randrange(4)).close()
    for peer in open_ones:
        peer.close()
    look_for_escaped(stage)


def look_for_escaped(stage: Stage) -> None:
    """No file may have been written where none belongs."""
    for path in stage.site.directory.rglob(ESCAPED):
        stage.accepted(f"a file outside its directory: {path.relative_to(stage.site.directory)}")
        with contextlib.suppress(OSError):
            path.unlink()


# Greetings: what comes before the rest, most often as it must be


def _hello(stage: Stage, values: Values, role: str, **changes: Any) -> Any:
    if stage.chance.random() < 0.1:
        return values.message(Hello)
    known = values.known.instances
    own = stage.chance.randbytes(16)
    instance = stage.chance.choice(known) if known and stage.chance.random() < 0.15 else own
    return hello(role, instance, **changes)


def good_computation(computation: bytes) -> tuple[Message, list[bytes]]:
    """A computation that works, and the arguments of some jobs."""
    message, _ = prepare(abs, [], ComputationOptions())
    arguments = [joined(pickling.dumps_call((-each,), {})) for each in range(3)]
    return replace(message, computation=said.ComputationId(computation)), arguments


def as_client(stage: Stage, values: Values) -> list[Any]:
    greeting: list[Any] = [_hello(stage, values, "client")]
    if stage.chance.random() < 0.7:
        greeting.append(said.Resume([], []))
    if stage.chance.random() < 0.6:
        computation = said.ComputationId(stage.chance.choice(values.known.computations))
        whole, arguments = good_computation(computation)
        nodes = ["*"] if stage.chance.random() < 0.7 else values.patterns()
        greeting += [said.Open(computation, nodes, stage.chance.random() < 0.5), whole]
        greeting.append(said.Run(computation, [1, 2, 3], [1] * 3, list(arguments)))  # type: ignore[list-item]
    return greeting


def as_scheduler(stage: Stage, values: Values) -> list[Any]:
    greeting: list[Any] = [_hello(stage, values, "scheduler")]
    if stage.chance.random() < 0.6:
        computation = said.ComputationId(stage.chance.choice(values.known.computations))
        whole, arguments = good_computation(computation)
        greeting += [whole, said.Run(computation, [1, 2, 3], [1] * 3, list(arguments))]  # type: ignore[list-item]
    return greeting


def as_recoverer(stage: Stage, values: Values) -> list[Any]:
    chance = stage.chance
    targets = [*values.known.others, *values.known.computations, chance.randbytes(8)]
    claims = [[chance.choice(targets), chance.randbytes(16), chance.choice((0, 1, 1 << 40))] for _ in range(3)]
    return [_hello(stage, values, "recoverer", claims=claims)]


def as_visitor(stage: Stage, values: Values) -> list[Any]:
    return [_hello(stage, values, "visitor")]


def as_node(stage: Stage, values: Values) -> list[Any]:
    greeting: list[Any] = [_hello(stage, values, "node", cpus=stage.chance.choice((0, 1, 2, 1 << 30)))]
    if stage.chance.random() < 0.8:
        greeting.append(said.Inventory([], [], []))
    return greeting


def as_shared(stage: Stage, values: Values) -> list[Any]:
    return [_hello(stage, values, "scheduler", epoch=stage.chance.choice((0, 1, 1 << 40)))]


# Being connected to


@contextlib.contextmanager
def doors(ports: list[int]) -> Iterator[list[socket.socket]]:
    """Places where false ones are connected to."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_server((STUB_HOST, each), backlog=16)) for each in ports]


def be_dialled(stage: Stage, role: str, roles: bytes, greet: Callable[[Stage, Values], list[Any]]) -> None:
    """Be the false nodes, or the false scheduler, that a program connects to."""
    values = Values(stage.chance, known_of(stage))
    with doors(stage.target.stub_ports) as servers:
        while stage.goes_on():
            for server in servers:
                with contextlib.suppress(Refused), Peer.accept(server, stage.psk, roles, 0.02) as peer:
                    values.known.learn(peer.read(0.05))
                    greeting = greet(stage, values)
                    converse(stage, peer, values, role, greeting)
    look_for_escaped(stage)


def be_named(stage: Stage) -> None:
    """Be the false nodes that a client of a shared scheduler names."""
    values = Values(stage.chance, known_of(stage))
    client = None
    while stage.goes_on():
        if client is None or client.closed:
            client = stage.connect(CLIENT)
            if client is None:
                continue
            client.send(hello("client", os.urandom(16)), said.Resume([], []))
        with socket.create_server((STUB_HOST, 0)) as server:
            computation = said.ComputationId(stage.chance.randbytes(8))
            whole, arguments = good_computation(computation)
            place = f"{STUB_HOST}:{server.getsockname()[1]}"
            client.send(said.Open(computation, [place], False), whole)
            client.send(said.Run(computation, [1, 2, 3], [1] * 3, list(arguments)))  # type: ignore[list-item]
            client.read()
            with contextlib.suppress(Refused), Peer.accept(server, stage.psk, SCHEDULER, 0.5) as peer:
                converse(stage, peer, values, "node", as_node(stage, values))
            client.send(said.Release(computation))
    if client is not None:
        client.close()
    look_for_escaped(stage)


def come_from(stage: Stage) -> str:
    """An address that no honest node has."""
    return COMING_FROM.replace("*", f"{stage.chance.randrange(256)}.{stage.chance.randrange(1, 255)}")


def come_as_node(stage: Stage) -> None:
    """Come to a scheduler, or to a program, as a node does that cannot be reached."""
    values = Values(stage.chance, known_of(stage))
    while stage.goes_on():
        peer = stage.connect(COMING, come_from(stage))
        if peer is not None:
            with peer:
                converse(stage, peer, values, "node", as_node(stage, values))
    look_for_escaped(stage)


def and_restart(act: Callable[[Stage], None], stage: Stage) -> None:
    """Attack, and then kill the scheduler and have it start from what its journal has kept of that."""
    act(stage)
    stage.restart_from_journal()


def attacks() -> list[Attack]:
    client = partial(talk, role="client", roles=CLIENT, greet=as_client, source=True)
    recoverer = partial(talk, role="recoverer", roles=CLIENT, greet=as_recoverer, source=True)
    scheduler = partial(talk, role="scheduler", roles=SCHEDULER, greet=as_scheduler, source=True)
    collector = partial(talk, role="recoverer", roles=SCHEDULER, greet=as_recoverer, source=True)
    visitor = partial(talk, role="visitor", roles=VISITOR, greet=as_visitor, source=True)
    false_node = partial(be_dialled, role="node", roles=SCHEDULER, greet=as_node)
    false_scheduler = partial(be_dialled, role="shared", roles=CLIENT, greet=as_shared)
    rows: list[tuple[str, str, Callable[[Stage], None], float]] = [
        ("a client", SHARED, client, 3),
        ("a client", JOURNAL, partial(and_restart, client), 3),
        ("a recoverer", JOURNAL, partial(and_restart, recoverer), 1),
        ("a scheduler", LONE_NODE, scheduler, 3),
        ("a scheduler", NODE, scheduler, 1),
        ("a recoverer", NODE, collector, 1),
        ("a visitor", NODE, visitor, 1),
        ("a node that comes", SHARED, come_as_node, 2),
        ("a node that is named", SHARED, be_named, 2),
        ("a node that comes", PROGRAM, come_as_node, 2),
        ("a node that is named", PROGRAM, false_node, 2),
        ("a false scheduler", SHARED_PROGRAM, false_scheduler, 2),
    ]
    return [Attack("insiders", name, target, act, weight, 1.0) for name, target, act, weight in rows]
