"""What the owner of a node changes while it runs: draining, CPUs, service hours, and the number of clients.

Orders are carried out in the pump of the node. A greenlet watches the service hours.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

import gevent.event

from gdispy.errors import ConfigError
from gdispy.execution.host_resources import usable_cpus
from gdispy.execution.node_settings import NodeSettings
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import NodeOrder
from gdispy.protocol.texts import DRAINING
from gdispy.rules.effects import Effects
from gdispy.rules.node.node_rules import NodeRules
from gdispy.rules.node.service_hours import OPEN, as_text, clock, hours_of
from gdispy.runtime.greenlets import keep_running
from gdispy.runtime.pump import Pump

logger = logging.getLogger("gdispy.node")

#: Seconds between two looks at the clock: clocks are set, and machines sleep.
LOOK_INTERVAL = 30.0
#: Why the node takes no jobs where its owner has stopped it on its console or its page.
STOPPED = "stopped"

#: What carries out an order, at a time of the node's clock.
Action = Callable[[float], Effects]


class OwnerControl:
    """The present wishes of the owner."""

    def __init__(self, rules: NodeRules, settings: NodeSettings, pump: Pump, began: float) -> None:
        self._rules, self._pump = rules, pump
        self._most_cpus = max(settings.cpus, usable_cpus())
        self._hours = settings.hours
        self._state = OPEN
        self._changed = gevent.event.Event()
        self._look(began)  # Before any peer learns of CPUs that are not offered now.

    def start(self) -> None:
        keep_running(self._watch, what="the service hours")

    def _watch(self) -> None:
        while True:
            state, seconds = self._hours.at(_seconds_of_day()) if self._hours is not None else (OPEN, LOOK_INTERVAL)
            if state != self._state:
                self._pump.put(self._look)
            self._changed.wait(min(seconds, LOOK_INTERVAL) + 0.01)
            self._changed.clear()

    def _look(self, now: float) -> Effects:
        """Apply the service hours."""
        hours, before = self._hours, self._state
        self._state = hours.at(_seconds_of_day())[0] if hours is not None else OPEN
        if self._state == before:
            return []
        logger.info("service hours: %s", self._state)
        return self._rules.keep_hours(self._state, clock(hours.last) if hours is not None else "", now)

    # On its console and its page

    def set_cpus(self, cpus: int) -> None:
        """Change the number of CPUs on offer. Running jobs are not affected."""
        self._pump.put(self._rules.set_cpus, cpus)

    def stop_jobs(self) -> None:
        """Accept no new jobs until `start_jobs`."""
        self._pump.put(self._rules.shut, STOPPED)

    def start_jobs(self) -> None:
        self._pump.put(self._rules.reopen, STOPPED)

    # From anywhere

    def limits(self) -> list[str]:
        """The service hours as `hours_of` takes them, and after how many clients the node ends: '' each for none."""
        clients = self._rules.clients_left()
        return [as_text(self._hours), str(clients) if clients >= 0 else ""]

    def give(self, order: NodeOrder) -> None:
        """Carry out an order soon. Raises ConfigError if it is not valid."""
        self._pump.put(self._carry_out, self.prepared(order))

    def _carry_out(self, action: Action, now: float) -> Effects:
        return action(now)

    def prepared(self, order: NodeOrder) -> Action:
        """What carries out the order of a visitor. Raises ConfigError if it is not valid."""
        if order.word == "drain":
            return partial(self._rules.shut, DRAINING)
        if order.word == "undrain":
            return partial(self._rules.reopen, DRAINING)
        if order.word == "cpus":
            return partial(self._rules.set_cpus, max(1, min(order.number, self._most_cpus)))
        if order.word == "serve":
            return partial(self._rules.serve, order.number)
        if order.word == "hours":
            hours = hours_of(order.text)

            def keep(now: float) -> Effects:
                self._hours = hours
                self._changed.set()
                return self._look(now)

            return keep
        raise ConfigError(f"a node does not know the order {printable(order.word)}")


def _seconds_of_day() -> float:
    """Seconds after midnight, by the local clock."""
    now = time.localtime()
    return 3600 * now.tm_hour + 60 * now.tm_min + now.tm_sec
