"""Storms of a bounded length: `make chaos` runs them for GDISPY_CHAOS_SECONDS each (default 30) with GDISPY_SEED, or a
seed that it prints; with every test run there is a short one of each."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.chaos.storm import run

SECONDS = float(os.environ.get("GDISPY_CHAOS_SECONDS", "30"))
SEED = int(os.environ.get("GDISPY_SEED", str(random.randrange(1 << 30))))

KINDS = ["JobCluster", "SharedJobCluster"]


@pytest.mark.chaos
@pytest.mark.timeout(2 * SECONDS + 120)
@pytest.mark.parametrize("kind", KINDS)
def test_every_job_ends_once_in_a_storm(kind: str, tmp_path: Path) -> None:
    print(run(kind, SECONDS, SEED, tmp_path))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_every_job_ends_once_in_a_short_storm(kind: str, tmp_path: Path) -> None:
    print(run(kind, 30.0, SEED, tmp_path))
