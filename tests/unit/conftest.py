"""Fixtures of several unit tests."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """What a test sets of the package's logger, as commands do, is gone after it."""
    logger = logging.getLogger("gdispy")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


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


@pytest.fixture
def modules_below(fresh_modules: None, tmp_path: Path) -> None:
    """Modules are found below `tmp_path`."""
    sys.path.insert(0, str(tmp_path))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file below `tmp_path`, and gives its path."""

    def make(path: str, text: str = "") -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        importlib.invalidate_caches()
        return file

    return make
