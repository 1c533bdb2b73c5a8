"""The attack program for a bounded time: `make chaos` runs it for GDISPY_CHAOS_SECONDS (default 30) with GDISPY_SEED,
or a seed that it prints; with every test run there is a short one, which makes some attacks of each topic."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("GDISPY_CHAOS_SECONDS", "30"))
SEED = int(os.environ.get("GDISPY_SEED", str(random.randrange(1 << 30))))
SHORT = 15.0


def attack(seconds: float, within: float) -> None:
    """Run it in a process of its own, since it moves into another network."""
    command = [sys.executable, "-m", "tests.attack", "--seconds", str(seconds), "--seed", str(SEED)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            output, _ = process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            process.terminate()
            output, _ = process.communicate()
    print(output)
    assert process.returncode == 0, output


@pytest.mark.chaos
@pytest.mark.timeout(5 * SECONDS + 660)
def test_attackers_end_nothing_but_what_is_theirs() -> None:
    attack(SECONDS, 5 * SECONDS + 600)


@pytest.mark.timeout(330)
def test_attackers_end_nothing_but_what_is_theirs_for_a_short_time() -> None:
    attack(SHORT, 300)
