"""A lab for each test: networks of its own. Without root there are none; in CI that is a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import Lab, why_not


@pytest.fixture(scope="session")
def networks() -> None:
    reason = why_not()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def lab(networks: None, tmp_path: Path, secret_file: str) -> Iterator[Lab]:
    made = Lab(tmp_path, secret_file)
    try:
        yield made
    finally:
        made.close()
