"""What the owner of a node changes while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.errors import ConfigError
from gdispy.execution import owner_control as module
from gdispy.execution.node_settings import NodeSettings
from gdispy.execution.owner_control import OwnerControl
from gdispy.protocol.messages import NodeOrder
from gdispy.rules.node.service_hours import Hours, hours_of

HOUR = 3600


class Rules:
    """Records what is asked of the rules."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.left = -1

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> list[Any]:
            self.calls.append((name, *args))
            return []

        return call

    def clients_left(self) -> int:
        return self.left

    def taken(self) -> list[tuple[Any, ...]]:
        calls, self.calls = self.calls, []
        return calls


class Pump:
    """Carries out at once what is put into it: functions with a name, which it keeps for a report of a defect."""

    def put(self, function: Any, *args: Any) -> None:
        assert function.__name__
        function(*args, 5.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The hour of the day; it can be set."""
    hour = [12.0]
    monkeypatch.setattr(module, "_seconds_of_day", lambda: hour[0] * HOUR)
    monkeypatch.setattr(module, "usable_cpus", lambda: 4)
    return hour


def control(hours: Hours | None = None) -> tuple[OwnerControl, Rules]:
    rules: Any = Rules()
    pump: Any = Pump()
    settings: Any = NodeSettings(secret=None, cpus=2, hours=hours)  # type: ignore[arg-type]
    return OwnerControl(rules, settings, pump, 1.0), rules


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (NodeOrder(1, "drain", 0), ("shut", "draining", 5.0)),
        (NodeOrder(1, "undrain", 0), ("reopen", "draining", 5.0)),
        (NodeOrder(1, "cpus", 3), ("set_cpus", 3, 5.0)),
        (NodeOrder(1, "cpus", 0), ("set_cpus", 1, 5.0)),
        (NodeOrder(1, "cpus", 99), ("set_cpus", 4, 5.0)),
        (NodeOrder(1, "serve", 2), ("serve", 2, 5.0)),
        (NodeOrder(1, "hours", 0, "18:00 07:00"), ("keep_hours", "draining", "07:00", 5.0)),
        (NodeOrder(1, "hours", 0, "18:00 07:00 08:00"), ("keep_hours", "closed", "08:00", 5.0)),
    ],
)
def test_orders(order: NodeOrder, expected: tuple[Any, ...], clock: list[float]) -> None:
    made, rules = control()
    made.give(order)
    assert rules.taken() == [expected]


@pytest.mark.parametrize("order", [NodeOrder(1, "stop", 0), NodeOrder(1, "", 0), NodeOrder(1, "hours", 0, "18:00")])
def test_what_is_no_order_changes_nothing(order: NodeOrder, clock: list[float]) -> None:
    made, rules = control()
    with pytest.raises(ConfigError):
        made.give(order)
    assert rules.taken() == [] and made.limits() == ["", ""]


def test_hours_at_the_start_apply_before_any_peer_is_served(clock: list[float]) -> None:
    assert control(hours_of("18:00 07:00"))[1].taken() == [("keep_hours", "draining", "07:00", 1.0)]
    assert control(hours_of("09:00 17:00"))[1].taken() == []


def test_hours_can_be_changed_and_removed(clock: list[float]) -> None:
    made, rules = control(hours_of("09:00 17:00 18:00"))
    assert made.limits() == ["09:00 17:00 18:00", ""]
    made.give(NodeOrder(1, "hours", 0, "09:00 11:00"))
    assert made.limits() == ["09:00 11:00", ""]
    made.give(NodeOrder(1, "hours", 0, "13:00 19:00"))  # Closed as before: nothing to tell.
    assert rules.taken() == [("keep_hours", "draining", "11:00", 5.0)]
    clock[0] = 14.0
    made._pump.put(made._look)
    clock[0] = 20.0
    made._pump.put(made._look)
    made.give(NodeOrder(1, "hours", 0))
    assert [call[1] for call in rules.taken()] == ["open", "draining", "open"]
    assert made.limits() == ["", ""]


def test_number_of_clients_is_told(clock: list[float]) -> None:
    made, rules = control()
    for left, told in ((3, "3"), (0, "0"), (-1, "")):
        rules.left = left
        assert made.limits() == ["", told]


def test_console_stops_and_starts_jobs(clock: list[float]) -> None:
    made, rules = control()
    made.stop_jobs()
    made.start_jobs()
    made.set_cpus(1)
    assert rules.taken() == [("shut", "stopped", 5.0), ("reopen", "stopped", 5.0), ("set_cpus", 1, 5.0)]
