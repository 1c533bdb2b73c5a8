"""Applies the changes of a program to modules that are imported here from their files.

Standard library. Installed when a computation has been loaded.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import logging
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

logger = logging.getLogger(__name__)


class StateFinder(importlib.abc.MetaPathFinder):
    """Finds modules as usual, and changes them after their execution."""

    def __init__(self, states: Mapping[str, bytes], loads: Callable[[bytes], dict[str, Any]]) -> None:
        self._states, self._loads = states, loads

    def install(self) -> None:
        """Change the modules that are loaded, and later ones when they are imported."""
        sys.meta_path.insert(0, self)
        for name in self._states:
            if name in sys.modules:
                self.apply(sys.modules[name])

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name in self._states else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    def apply(self, module: types.ModuleType) -> None:
        """Apply changes; equal values are kept, since other modules may have references to them."""
        try:
            state = self._loads(self._states[module.__name__])
        except Exception:
            logger.exception("the changes of the program to %s cannot be applied here", module.__name__)
            return
        for name, value in state.items():
            path, _, attribute = name.rpartition(".")
            owner: Any = vars(module).get(path) if path else module
            before: Any = vars(owner).get(attribute)
            if _is_equal(before, value):
                continue
            # A container keeps its identity, since others may have references to it.
            if type(before) is type(value) and isinstance(value, dict | list | set):
                before.clear()
                (before.extend if isinstance(value, list) else before.update)(value)
            else:
                setattr(owner, attribute, value)


def _is_equal(one: object, other: object) -> bool:
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:
        return False


class _Loader(importlib.abc.Loader):
    """A loader that lets the finder change the module."""

    def __init__(self, loader: importlib.abc.Loader, finder: StateFinder) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        self._loader.exec_module(module)
        self._finder.apply(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
