"""Modules of Python's library that go by another name in another version, for what has been pickled there.

Standard library. Imported with `pickling.py`.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

#: By the name that a version pickles: the name in all others.
_MOVED = {"pathlib._local": "pathlib"}


class _Moved(types.ModuleType):
    """Stands for a module, and loads that one when something of it is wanted."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(_MOVED[self.__name__]), name)


def know_moved_modules() -> None:
    """Have pickle find what other versions of Python have elsewhere."""
    if sys.version_info < (3, 13):  # Later ones know it themselves.
        for name in _MOVED:
            sys.modules.setdefault(name, _Moved(name))
