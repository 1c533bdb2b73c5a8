"""The only place in the tests that sleeps: waiting for what the operating system owns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], within: float = 10.0, what: str = "") -> T:
    """Wait until `condition()` is true and return what it gave; fail after `within` seconds."""
    until = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {within} s: {what or condition}")
        time.sleep(0.01)
