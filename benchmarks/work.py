"""What the jobs of the benchmark do. Small on purpose: nodes get this file, and the pool imports it."""

from __future__ import annotations

import os
import time
from pathlib import Path


def answer(number: int) -> int:
    """A job that does nothing, but whose result can be told from that of any other."""
    return number


def echo(payload: bytes) -> bytes:
    """Give the argument back."""
    return payload


def last(seconds: float) -> None:
    """Take this much time on the clock."""
    time.sleep(seconds)


def stay(path: str) -> None:
    """Write the number of the process that runs this into a file, and run until it is killed."""
    part = Path(path + ".part")
    part.write_text(str(os.getpid()))
    part.rename(path)
    time.sleep(3600.0)


def burn(seconds: float) -> bool:
    """Use this much time of a CPU, however long that takes on the clock."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return True
