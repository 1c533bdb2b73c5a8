"""The command `gdispy nodes [HOST...]`: lists nodes, and the reason if one cannot be used.

Runs in a process that gevent has patched. It discovers nodes as a cluster does and requests the status of each, without
reserving it. Nodes with a different secret do not answer and are not found.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import gevent
from gevent.event import AsyncResult

from gdispy import config
from gdispy.cli.options import (
    Once,
    add_common_options,
    add_secret_options,
    add_tls_options,
    fail,
    parse,
    set_up_logging,
)
from gdispy.client.tables import format_table
from gdispy.discovery import targets
from gdispy.discovery.beacon import HERE, LOOK, Beacon, Packet
from gdispy.discovery.route import Route, routes_of
from gdispy.errors import ConfigError, ConnectFailed, GdispyError, PeerRejected
from gdispy.net import connect
from gdispy.protocol import roles
from gdispy.protocol.address import Address
from gdispy.protocol.discovery import RELAY
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import Availability, Hello, Message, NodeOrder, Overview, OverviewRequest
from gdispy.rules.scheduler.diagnostics import without_place
from gdispy.runtime.greenlets import spawn
from gdispy.transport.connection import Connection, Handlers, new_identity
from gdispy.transport.credentials import Secret, find_secret, with_tls
from gdispy.transport.greeting import hello
from gdispy.transport.interfaces import host_of, own_address, resolve

#: Times of discovery requests, in seconds, and when to stop waiting for answers.
MOMENTS = (0.0, 0.2, 0.5)
LISTEN = 1.0
LISTEN_NAMED = 0.4
#: Seconds for a node to be reached and to report its status; and for each route, if it has several.
ANSWER_LIMIT = 5.0
ROUTE_LIMIT = 1.5

_EXAMPLES = """examples:
  gdispy nodes                  all nodes found on the networks of this machine
  gdispy nodes 10.0.0.5 lab     also these hosts, or the nodes behind a relay on them
  gdispy nodes --json           JSON output

The exit status is 0 if at least one node can be used.
"""


@dataclass
class Found:
    """A node, or an address that should be one."""

    name: str
    address: str
    version: str = ""
    python: str = ""
    cpus: int = 0
    busy: int = 0
    #: Percentage of idle CPU time; None if the node does not report it.
    idle: float | None = None
    #: The clients that use it, and the reason if it cannot be used.
    clients: list[str] = field(default_factory=list)
    problem: str = ""
    relay: str = ""
    #: Why it takes no jobs.
    notes: list[str] = field(default_factory=list)
    platform: str = ""
    #: Free bytes, as `idle`.
    memory: int | None = None
    disk: int | None = None
    #: What it has of its clients: `client`, `name`, and the numbers of jobs `waiting` and `running`.
    computations: list[dict[str, object]] = field(default_factory=list)
    #: Its service hours, and after how many clients it ends: '' each for none.
    hours: str = ""
    clients_left: str = ""


def nodes_parser() -> argparse.ArgumentParser:
    """The options of `gdispy nodes`."""
    parser = argparse.ArgumentParser(
        prog="gdispy nodes",
        description="List the nodes that are found, with the reason if one cannot be used.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("hosts", nargs="*", metavar="HOST[:PORT]", help="a node or relay to query in addition to discovery")
    text = "the same, as an option; may be repeated"
    add("-n", "--nodes", action="append", default=[], metavar="HOST[:PORT]", help=text)
    add("--json", action="store_true", help="print JSON")
    add_search_options(parser)
    add_secret_options(parser)
    add_tls_options(parser)
    add_common_options(parser)
    return parser


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Where nodes are searched for."""
    add = parser.add_argument
    add("--only", action="store_true", help="query only the given hosts; no discovery")
    text = "local address whose network to search (default: GDISPY_IP_ADDR, or all networks)"
    add("-i", "--ip_addr", action=Once, default="", metavar="ADDR", help=text)
    text = f"port on which nodes listen (default: {config.NODE_PORT})"
    add("--node_port", type=int, default=config.NODE_PORT, metavar="PORT", help=text)
    add("--ipv4_udp_multicast", action="store_true", help="discover nodes by multicast instead of broadcast")


def nodes_main(words: Sequence[str] | None = None) -> int:
    """`gdispy nodes`; the exit code."""
    options = parse(nodes_parser(), words)
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        hosts = [*options.hosts, *options.nodes]
        if options.only and not hosts:
            raise ConfigError("--only requires hosts to query")
        secret = find_secret(options.secret, options.secret_file, options.insecure)
        secret = with_tls(secret, options.certfile, options.keyfile)
        config.port_number(options.node_port, "--node_port")
        wanted = targets.parse(hosts, options.node_port).targets if hosts else []
        found = NodeSurvey(secret, options, wanted).run()
    except (GdispyError, OSError) as error:
        return fail("gdispy nodes", error)
    if options.json:
        print(json.dumps([asdict(each) for each in found], indent=2))
    else:
        print("\n".join(lines(found)))
    return 0 if any(not each.problem for each in found) else 1


#: The instance of a node, or its address while the instance is not known.
NodeKey = bytes | tuple[str, int]


class NodeSurvey:
    """One round of discovery and status requests."""

    def __init__(self, secret: Secret, options: argparse.Namespace, targets: list[tuple[str, int]]) -> None:
        self._secret = secret
        self._options = options
        self._targets = targets
        self._identity = new_identity()
        self._instance = self._identity.instance
        #: By instance, or by address if the instance is not known.
        self._routes: dict[NodeKey, list[Route]] = {}
        self._names: dict[NodeKey, str] = {}
        self._relays: set[tuple[str, int]] = set()
        #: How the nodes that have answered were reached, by address.
        self.routes: dict[str, Route] = {}

    def run(self) -> list[Found]:
        """Discover nodes, request their status, and wait for the answers."""
        self._search()
        return self._visit_all()

    def discover(self) -> dict[NodeKey, list[Route]]:
        """Discover nodes only; see `visit`."""
        self._search()
        return self._known()

    def _search(self) -> None:
        ip_addr = own_address(self._options.ip_addr)
        own = (self._secret.for_udp(), self._instance, ip_addr, 0, self._on_packet, self._options.ipv4_udp_multicast)
        beacon = Beacon(*own)
        beacon.start()
        before = 0.0
        for moment in MOMENTS if not self._options.only else MOMENTS[:1]:
            gevent.sleep(moment - before)
            before = moment
            if not self._options.only:
                beacon.broadcast(LOOK, 0, self._options.node_port)
            for target in self._targets:
                spawn(self._ask, beacon, target, what=f"a question to {Address(*target)}")
        gevent.sleep(LISTEN - before if not self._options.only else LISTEN_NAMED)
        beacon.close()

    def _ask(self, beacon: Beacon, target: tuple[str, int]) -> None:
        place = beacon.resolve(*target)
        if place is not None:
            beacon.tell(LOOK, 0, place)

    def _on_packet(self, beacon: Beacon, packet: Packet, address: tuple[str, int]) -> None:
        if packet.kind == RELAY:
            self._relays.add((address[0], packet.port))
        elif packet.kind == HERE and packet.port:
            known = self._routes.setdefault(packet.instance, [])
            known += [each for each in routes_of(packet, address[0], self._secret.for_udp()) if each not in known]
            self._names[packet.instance] = packet.name

    def _known(self) -> dict[NodeKey, list[Route]]:
        """The nodes that were found, and the targets that are no relays."""
        for target in self._targets:
            place = self.place_of(target)
            if place not in self._relays and not any(Route(*place) in each for each in self._routes.values()):
                self._routes[target] = [Route(*target)]
        for routes in self._routes.values():  # Link-local addresses last: other machines cannot use them.
            routes.sort(key=lambda route: "%" in route.host)
        return self._routes

    def _visit_all(self) -> list[Found]:
        visits = [
            spawn(self.visit, key, routes, what=f"a visit to {routes[0].place}")
            for key, routes in self._known().items()
        ]
        gevent.joinall(visits)
        seen: dict[NodeKey, Found] = {}
        for visit in visits:
            if visit.value is None:  # It failed because of a defect, which was logged.
                continue
            instance, found = visit.value
            seen.setdefault(instance, found)
        return sorted(seen.values(), key=lambda each: (bool(each.problem), each.name, each.address))

    def place_of(self, target: tuple[str, int]) -> tuple[str, int]:
        """The address of a host, if it can be resolved."""
        try:
            return host_of(resolve(*target, 0)[0][4]), target[1]
        except OSError:
            return target

    def visit(self, key: NodeKey, routes: list[Route]) -> tuple[NodeKey, Found]:
        """Request the status of a node over the first route that works; returns its instance and the answer."""
        problems = []
        for route in routes:
            try:
                return self._visit_by(route, ANSWER_LIMIT if len(routes) == 1 else ROUTE_LIMIT)
            except (ConnectFailed, PeerRejected) as error:
                problems.append(str(error))
        name = self._names.get(key, "")
        return key, Found(name, routes[0].place, problem="; ".join(dict.fromkeys(problems)))

    def order(self, route: Route, word: str = "", number: int = 0, text: str = "") -> Found:
        """Give a node this order, if any, and request its status; see `NodeOrder`. Raises ConnectFailed or
        PeerRejected."""
        return self._visit_by(route, ANSWER_LIMIT, NodeOrder(1, word, number, text) if word else None)[1]

    def _visit_by(self, route: Route, limit: float, order: NodeOrder | None = None) -> tuple[NodeKey, Found]:
        answer = AsyncResult()
        received: list[Message] = []

        def on_messages(connection: Connection, messages: list[Message]) -> None:
            for message in messages:
                if isinstance(message, Hello):
                    connection.check_identity(message)
            received.extend(messages)
            if any(isinstance(each, Overview) for each in messages):
                answer.set(None)

        def on_closed(connection: Connection, reason: str) -> None:
            answer.set_exception(ConnectFailed(f"{route.place}: {printable(reason)}"))

        handlers = Handlers(on_messages, on_closed)
        psk, tls = self._secret.for_tcp(), self._secret.tls
        connection = connect(
            *(route.host, route.port, psk, roles.VISITOR_TO_NODE, handlers),
            relay=route.relay,
            limit=limit,
            tls=tls,
            advice=self._secret.advice(),
        )
        connection.start()
        connection.introduce(hello(roles.VISITOR, self._instance), self._identity)
        connection.send(order or OverviewRequest(1))
        try:
            answer.get(timeout=ANSWER_LIMIT)
        except gevent.Timeout:
            raise ConnectFailed(f"{route.place} did not report its status") from None
        finally:
            connection.close("asked and answered")
        found = _found(route, received)
        self.routes[found.address] = route
        return connection.instance, found


def _found(route: Route, received: list[Message]) -> Found:
    found = Found("", route.place)
    if route.relay is not None:
        found.relay = str(Address(route.relay.host, route.relay.port))
    for message in received:
        if isinstance(message, Hello):
            found.name, found.version, found.python = message.name, message.version, message.python
            found.platform = message.platform
        elif isinstance(message, Availability) and message.free:
            found.idle, found.memory, found.disk = message.free[0], int(message.free[1]), int(message.free[2])
        elif isinstance(message, Overview) and message.nodes:
            [node] = message.nodes
            found.cpus, found.busy = node.cpus, node.load
            found.clients = sorted({row.client for row in message.computations})
            found.computations = [
                {"client": row.client, "name": row.name, "waiting": row.waiting, "running": row.running}
                for row in message.computations
            ]
            found.notes = list(message.notes)
            found.hours, found.clients_left = [*message.limits, "", ""][:2]
            if not found.cpus:
                found.problem = ", ".join(found.notes) or "not accepting jobs at present"
            elif node.connected:
                found.problem = f"in use by {', '.join(found.clients) or 'another program'}"
    return found


def lines(found: list[Found]) -> list[str]:
    """The nodes as a table."""
    if not found:
        return ["no gdispy-node was found: start gdispy-node on the machines, with the same secret as on this machine"]
    rows: list[tuple[str, ...]] = [("node", "address", "gdispy", "Python", "CPUs", "busy", "idle", "state")]
    for each in found:
        idle = "" if each.idle is None else f"{each.idle:.0f} %"
        numbers = (str(each.cpus), str(each.busy)) if each.version else ("", "")
        state = without_place(each.address, each.problem) or (
            f"free, through the relay at {each.relay}" if each.relay else "free"
        )
        texts = (each.name or "?", each.address, each.version, each.python, *numbers, idle, state)
        rows.append(tuple(map(printable, texts)))
    return format_table(rows, "  ", align="<")
