"""What travels by value and what by its name, and what has become known while a value was written.

Standard library. `by_value.py` goes by it; a cluster keeps its own for the arguments of its jobs.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any

from gdispy.worker.own_modules import is_own

#: The program itself; by the second name also in processes that `multiprocessing` has started anew.
MAIN = ("__main__", "__mp_main__")
#: Names that nodes give to jobs; a program may have its own, for when it runs without nodes.
OF_NODES = frozenset(
    (
        *("dispy_node_name", "dispy_node_ip_addr", "dispy_job_path", "dispy_provisional_result", "dispy_send_file"),
        *("dispynode_shutdown", "dispynode_logger"),
    )
)
#: Modules that dispy's nodes have imported before a job runs, as found by running dispy 4.15.2.
MODULES = (
    *("copy", "errno", "glob", "hashlib", "io", "marshal"),
    *("multiprocessing", "os", "pickle", "platform", "re", "shutil"),
    *("signal", "socket", "stat", "struct", "subprocess", "sys"),
    *("tempfile", "threading", "time", "traceback"),
)


@dataclass(frozen=True)
class Manner:
    """What travels by value, and what the other end has."""

    #: Modules, with those below them, that travel by value though they are installed; and by name though they are not.
    by_value: frozenset[str] = frozenset()
    by_name: frozenset[str] = frozenset()
    #: Modules that are there as files, each for itself: what they define travels by name.
    as_files: frozenset[str] = frozenset()
    #: Identifiers of definitions that the other end has.
    known: Container[bytes] = frozenset()
    #: What is to live as long as results may refer to it.
    kept: tuple[Any, ...] = ()
    #: Whether a module is one of the program.
    is_own: Callable[[str], bool] = is_own

    def is_by_value(self, module: str) -> bool:
        """Whether what a module defines travels by value."""
        if module in MAIN:
            return True
        if module in self.as_files or _is_among(module, self.by_name):
            return False
        return _is_among(module, self.by_value) or self.is_own(module)


def _is_among(module: str, names: frozenset[str]) -> bool:
    if not names:
        return False
    return module in names or any(module.startswith(name + ".") for name in names)


@dataclass
class Findings:
    """What has become known while a value was written."""

    #: Identifiers of what was defined, and its names.
    defined: set[bytes] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)
    objects: list[Any] = field(default_factory=list)
    #: Modules of the program that are used in ways which need all of them.
    whole: set[str] = field(default_factory=set)
    #: Code that was written, with the package of its module.
    codes: list[tuple[types.CodeType, str]] = field(default_factory=list)
