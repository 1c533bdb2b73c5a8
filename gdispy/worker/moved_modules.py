"""Modules of Python's library that have another name in another version, for pickles from there.

Standard library. Imported with `pickling.py`.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

#: By the name that a version uses in pickles: the name in all others.
_MOVED = {"pathlib._local": "pathlib"}


class _Moved(types.ModuleType):
    """Stands for a module, and loads it on first use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(_MOVED[self.__name__]), name)


def know_moved_modules() -> None:
    """Make pickle find names that are elsewhere in other versions of Python."""
    if sys.version_info < (3, 13):  # Later versions handle it.
        for name in _MOVED:
            sys.modules.setdefault(name, _Moved(name))
