"""What nodes and schedulers report, asked again and again, for the page of `gdispy admin`.

Runs in a process that gevent has patched. Each node and each scheduler has a separate greenlet.

Invariants:
1. One that hangs delays only what is shown of itself.
2. While no browser looks at the page, nothing is asked.
3. A node is followed once: by the address that the user has named, else by the one at which it was found.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import gevent
import gevent.event

from gdispy.cli.nodes import Found, NodeKey, NodeSurvey
from gdispy.cli.scheduler_request import ask_scheduler
from gdispy.discovery.route import Route
from gdispy.errors import GdispyError
from gdispy.protocol.address import Address
from gdispy.protocol.messages import Overview, OverviewRequest
from gdispy.runtime.greenlets import keep_running
from gdispy.transport.credentials import Secret

#: Seconds between two searches for nodes, between two requests to one node or scheduler, and, with many nodes, for each
#: of them: a request is a new connection.
SEARCH_INTERVAL = 10.0
INTERVAL = 3.0
INTERVAL_PER_NODE = 0.03
#: Seconds after the last look at the page in which nodes are still asked.
ATTENTION = 30.0
#: Seconds after which a node that was found, and does not answer any more, is forgotten; and nodes that are followed.
FORGET = 3600.0
NODES = 2000


class Attention:
    """Whether a browser looks at the page."""

    def __init__(self) -> None:
        self._last = 0.0
        self._looks = gevent.event.Event()
        self.look()

    def look(self) -> None:
        self._last = time.monotonic()
        self._looks.set()

    def wait(self, seconds: float) -> None:
        """Wait for a number of seconds, and until someone looks."""
        gevent.sleep(seconds)
        if time.monotonic() - self._last > ATTENTION:
            self._looks.clear()
            self._looks.wait()


class WatchedNode:
    """A node, or an address that should be one."""

    def __init__(self, key: NodeKey, routes: list[Route], survey: NodeSurvey, places: set[str], is_named: bool) -> None:
        self.key, self.routes, self.survey = key, routes, survey
        #: Its addresses, and whether the user has given one of them.
        self.places, self.is_named = places, is_named
        #: A name for it in requests of the page.
        self.id = _place(routes[0])
        #: Its last answer, or why there is none; None before the first attempt.
        self.found: Found | None = None
        #: The node that has answered, which may be restarted.
        self.instance: NodeKey = key
        #: The route that has worked; since when it answers, by `time.time`, and when it has last answered.
        self.route: Route | None = None
        self.since: float | None = None
        self.answered = time.monotonic()

    def ask(self) -> None:
        self.take(*self.survey.visit(self.key, self.routes))

    def take(self, instance: NodeKey, found: Found) -> None:
        if found.version:
            self.since = self.since if self.since is not None and instance == self.instance else time.time()
            self.instance, self.found, self.answered = instance, found, time.monotonic()
            self.route = self.survey.routes.get(found.address, self.route)
        else:
            self.since = None
            # What it has said last, without the numbers, which are no longer true.
            known = self.found or found
            names = known.version, known.python, known.platform
            self.found = replace(found, name=found.name or known.name)
            self.found.version, self.found.python, self.found.platform = names

    def order(self, word: str, number: int = 0, text: str = "") -> Found:
        """Give it an order, as `NodeOrder`. Raises ConnectFailed or PeerRejected."""
        found = self.survey.order(self.route or self.routes[0], word, number, text)
        self.take(self.instance, found)
        return found


class NodeWatch:
    """All nodes that are found, and those that the user has named."""

    def __init__(
        self, secret: Secret, options: argparse.Namespace, named: list[tuple[str, int]], attention: Attention
    ) -> None:
        """`options` are those of `gdispy nodes`."""
        self._secret, self._options, self._named, self._attention = secret, options, named, attention
        self.nodes: dict[str, WatchedNode] = {}
        #: Why no node can be searched for, or ''.
        self.problem = ""

    def begin(self) -> None:
        keep_running(self._search, what="the search for nodes")

    def _search(self) -> None:
        while True:
            survey = NodeSurvey(self._secret, self._options, self._named)
            try:
                found = survey.discover()
                self.problem = ""
            except OSError as error:
                found, self.problem = {}, f"nodes cannot be searched for: {error}"
            for key, routes in found.items():
                self._follow_new(key, routes, survey)
            self._attention.wait(SEARCH_INTERVAL)

    def _follow_new(self, key: NodeKey, routes: list[Route], survey: NodeSurvey) -> None:
        places = {_place(replace(each, host=survey.place_of((each.host, each.port))[0])) for each in routes}
        named = {str(Address(*survey.place_of(each))) for each in self._named}
        is_known = any(
            places & each.places or (each.instance == key and each.since is not None) for each in self.nodes.values()
        )
        if not is_known and len(self.nodes) < NODES:
            node = WatchedNode(key, routes, survey, places, bool(places & named))
            self.nodes[node.id] = node
            keep_running(self._follow, node, what=f"the requests to {node.id}")

    def _follow(self, node: WatchedNode) -> None:
        while True:
            node.ask()
            if self._is_needless(node):
                self.nodes.pop(node.id, None)
                return
            self._attention.wait(max(INTERVAL, INTERVAL_PER_NODE * len(self.nodes)))

    def _is_needless(self, node: WatchedNode) -> bool:
        """Whether it is followed under another address too, or was found and has gone."""
        if node.is_named:
            return False
        twins = (each for each in self.nodes.values() if each is not node and each.instance == node.instance)
        return any(each.since is not None for each in twins) or time.monotonic() - node.answered > FORGET


def _place(route: Route) -> str:
    """Networks behind different relays may have the same addresses."""
    relay = route.relay
    return route.place if relay is None else f"{route.place} through {Address(relay.host, relay.port)}"


class WatchedScheduler:
    """A scheduler that the user has named."""

    def __init__(self, secret: Secret, host: str, port: int, attention: Attention) -> None:
        self._secret, self._host, self._port, self._attention = secret, host, port, attention
        self.place = str(Address(host, port))
        #: Its last answer, or None and why there is none.
        self.overview: Overview | None = None
        self.problem = "it has not answered yet"
        self.since: float | None = None

    def begin(self) -> None:
        keep_running(self._follow, what=f"the requests to {self.place}")

    def _follow(self) -> None:
        while True:
            try:
                self.overview = ask_scheduler(self._secret, self._host, self._port, OverviewRequest(1), Overview)
                self.problem, self.since = "", self.since or time.time()
            except (GdispyError, OSError) as error:
                self.overview, self.problem, self.since = None, str(error), None
            self._attention.wait(INTERVAL)
