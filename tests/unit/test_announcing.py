"""How often a node announces itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gdispy import node as node_module
from gdispy.keys import Secret
from gdispy.node import Node
from gdispy.node_settings import NodeSettings


def announce(interval: float, used: list[bool], monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], int]:
    """Let a node announce itself, used or not each time; the pauses it made, and how often it did."""
    pauses: list[float] = []
    told: list[Any] = []
    settings = NodeSettings(Secret(bytes(32), ""), 1, ping_interval=interval)
    node: Any = SimpleNamespace(_settings=settings, _connections={}, port=1, _name="n")
    node._stop = SimpleNamespace(is_set=lambda: not used)

    def broadcast(*words: Any) -> None:
        told.append(words)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        node._connections = {1: None} if used.pop(0) else {}

    monkeypatch.setattr(node_module.gevent, "sleep", pause)
    Node._tell_clients(node, SimpleNamespace(broadcast=broadcast))  # type: ignore[arg-type]
    return pauses, len(told)


def test_node_announces_itself_once_where_nothing_else_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert announce(0.0, [False, False], monkeypatch) == ([], 1)


def test_node_repeats_its_announcement_while_nobody_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # The last of these ends the node.
    assert announce(10.0, [False, True, True, False, False], monkeypatch) == ([10.0] * 5, 3)
