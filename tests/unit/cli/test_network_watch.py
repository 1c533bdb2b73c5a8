"""Which nodes `gdispy admin` follows, and what it shows of those that are gone; without a network."""

from __future__ import annotations

import argparse
from typing import Any

import gevent
import pytest

from gdispy.cli import network_watch as module
from gdispy.cli.admin_page import AdminView
from gdispy.cli.network_watch import Attention, NodeWatch, WatchedNode
from gdispy.cli.nodes import Found, NodeKey
from gdispy.discovery.route import Route
from gdispy.net import RelayAddress
from gdispy.transport.credentials import Secret

SECRET = Secret(bytes(32), "")
HERE, THERE = Route("10.0.0.1", 51348), Route("fe80::1%3", 51348)
NAMED = ("lab", 51348)


class Survey:
    """Nodes answer with the instance of their address, or do not answer."""

    def __init__(self) -> None:
        self.instances: dict[Route, bytes] = {}
        self.routes: dict[str, Route] = {}

    def place_of(self, target: tuple[str, int]) -> tuple[str, int]:
        return ("10.0.0.1", target[1]) if target[0] == "lab" else target

    def visit(self, key: NodeKey, routes: list[Route]) -> tuple[NodeKey, Found]:
        instance = self.instances.get(routes[0])
        if instance is None:
            return key, Found("", routes[0].place, problem="it is silent")
        return instance, Found("worker", routes[0].place, "0.1.0", "3.11", 4, 2)


@pytest.fixture
def survey() -> Any:
    return Survey()


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> NodeWatch:
    monkeypatch.setattr(module, "keep_running", lambda work, *args, what: None)
    return NodeWatch(SECRET, argparse.Namespace(), [NAMED], Attention())


def take(watch: NodeWatch, survey: Survey, key: NodeKey, *routes: Route) -> None:
    watch._follow_new(key, list(routes), survey)  # type: ignore[arg-type]


def turn(watch: NodeWatch) -> None:
    """Each node is asked once."""
    for node in list(watch.nodes.values()):
        node.ask()
        if watch._is_needless(node):
            del watch.nodes[node.id]


def test_node_that_is_found_again_is_followed_once(watch: NodeWatch, survey: Survey) -> None:
    take(watch, survey, b"a", HERE, THERE)
    take(watch, survey, b"a", THERE)
    take(watch, survey, b"b", HERE)  # It was restarted there.
    take(watch, survey, NAMED, Route(*NAMED))
    assert list(watch.nodes) == ["10.0.0.1:51348"] and watch.nodes["10.0.0.1:51348"].is_named


def test_node_with_two_addresses_is_followed_at_the_one_that_was_named(watch: NodeWatch, survey: Survey) -> None:
    take(watch, survey, b"a", THERE)
    take(watch, survey, NAMED, Route(*NAMED))
    assert len(watch.nodes) == 2
    survey.instances = {THERE: b"a", Route(*NAMED): b"a"}
    turn(watch)
    turn(watch)
    assert list(watch.nodes) == ["lab:51348"]


def test_nodes_behind_two_relays_may_have_the_same_address(watch: NodeWatch, survey: Survey) -> None:
    for number in (1, 2):
        take(watch, survey, bytes([number]), Route("10.9.0.1", 51348, RelayAddress("10.0.0.9", number, b"")))
    assert list(watch.nodes) == ["10.9.0.1:51348 through 10.0.0.9:1", "10.9.0.1:51348 through 10.0.0.9:2"]


def test_node_that_has_moved_is_found_at_its_new_address(watch: NodeWatch, survey: Survey) -> None:
    survey.instances[HERE] = b"a"
    take(watch, survey, b"a", HERE)
    turn(watch)
    del survey.instances[HERE]
    survey.instances[THERE] = b"a"
    turn(watch)
    take(watch, survey, b"a", THERE)
    turn(watch)
    assert watch.nodes["[fe80::1%3]:51348"].since is not None


def test_found_node_that_has_gone_is_forgotten_and_a_named_one_is_not(
    watch: NodeWatch, survey: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(watch, survey, b"b", THERE)
    take(watch, survey, NAMED, Route(*NAMED))
    turn(watch)
    assert len(watch.nodes) == 2
    monkeypatch.setattr(module, "FORGET", -1.0)
    turn(watch)
    assert list(watch.nodes) == ["lab:51348"]


def test_number_of_found_nodes_is_bounded(watch: NodeWatch, survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NODES", 3)
    for number in range(5):
        take(watch, survey, bytes([number]), Route(f"10.0.1.{number}", 51348))
    assert len(watch.nodes) == 3


def test_node_that_does_not_answer_keeps_its_name_and_versions_only(survey: Survey) -> None:
    survey.instances[HERE] = b"a"
    node = WatchedNode(b"a", [HERE], survey, set(), False)  # type: ignore[arg-type]
    node.ask()
    since = node.since
    node.ask()
    assert since is not None and node.since == since
    del survey.instances[HERE]
    node.ask()
    assert node.found == Found("worker", HERE.place, "0.1.0", "3.11", problem="it is silent") and node.since is None


def test_nothing_is_asked_while_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = Attention()
    attention.wait(0.0)
    monkeypatch.setattr(module, "ATTENTION", -1.0)
    waiting = gevent.spawn(attention.wait, 0.0)
    with pytest.raises(gevent.Timeout):
        waiting.get(timeout=0.2)
    attention.look()
    waiting.get(timeout=5)


def test_text_of_a_peer_cannot_pose_as_another_line(watch: NodeWatch, survey: Survey) -> None:
    take(watch, survey, b"a", HERE)
    node = watch.nodes[HERE.place]
    node.take(b"a", Found("evil\nscheduler x: fine", HERE.place, "0.1.0", notes=["draining\x1b[2J"]))
    (problem,) = AdminView(watch, [], Attention(), False).sections()["problems"]  # type: ignore[misc]
    assert "\x1b" not in problem
