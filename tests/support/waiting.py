"""The only place in the tests that sleeps: waiting for what the operating system owns."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def without_waiting(complaint: str) -> str:
    """What a program has said besides that no node can run its jobs yet: so it says where a node takes 3 s to start."""
    return re.sub(r".*, and no node can run them\.\n(  .*\n)*", "", complaint)


async def reached(condition: Callable[[], T], within: float = 10.0) -> None:
    """Let the running loop go on until `condition()` is true; fail after `within` seconds."""
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, f"not within {within} s: {condition}"
        await asyncio.sleep(0)


def eventually(condition: Callable[[], T], within: float = 30.0, what: str = "") -> T:
    """Wait until `condition()` is true and return what it gave; fail after `within` seconds."""
    until = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {within} s: {what or condition}")
        time.sleep(0.01)
