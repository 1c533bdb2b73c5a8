"""Fixtures of several unit tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def fresh_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports, and where it has it found, is gone after it."""
    before = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [*sys.modules]:
        if name not in before:
            del sys.modules[name]
    sys.modules.update(before)
