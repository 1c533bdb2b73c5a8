"""The parts of a request that the pages of nodes and of `gdispy admin` have in common."""

from __future__ import annotations

from typing import Any

from gdispy.errors import ConfigError
from gdispy.protocol.limits import printable_lines, shortened
from gdispy.rules.node.service_hours import hours_of
from gdispy.web.guard import Refused


def hours_in(order: dict[str, Any]) -> str:
    """The service hours in a request. Raises Refused."""
    text = order.get("hours")
    try:
        if not isinstance(text, str):
            raise ConfigError("hours must be a text")
        hours_of(text)
    except ConfigError as error:
        raise Refused(400, shortened(printable_lines(str(error)))) from None
    return text


def when(hours: str) -> str:
    """Service hours in words."""
    return f"from {' to '.join(hours.split()[:2])}" if hours.strip() else "at any time"


def clients_in(order: dict[str, Any]) -> int:
    """The number of clients in a request; 0 is any number. Raises Refused."""
    clients = order.get("clients")
    if not isinstance(clients, int) or isinstance(clients, bool) or not 0 <= clients < 1 << 20:
        raise Refused(400, "clients must be a whole number, 0 for any number of clients")
    return clients
