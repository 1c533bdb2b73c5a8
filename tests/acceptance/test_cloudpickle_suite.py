"""cloudpickle's own tests, run with gdispy's functions: see tests/cloudpickle_suite.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemons import lacking

SCRIPT = Path(__file__).parents[1] / "cloudpickle_suite.py"


@pytest.mark.timeout(600)
def test_gdispy_passes_as_many_of_cloudpickles_tests_as_it_says() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=580)
    if done.returncode == 2:
        lacking(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    found = re.fullmatch(r"passed (\d+) of (\d+) applicable, floor (\d+)", last)
    assert found is not None, last
    passed, applicable, floor = map(int, found.groups())
    assert applicable >= passed >= floor >= 225  # How many apply depends on the installed packages.


def test_a_folder_without_the_tests_is_named(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--suite", tmp_path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{tmp_path} holds no tests of cloudpickle\n")
