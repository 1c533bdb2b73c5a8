"""Which objects are sent by value and which by name, and findings from pickling.

Standard library. Input of `by_value.py`; a cluster keeps one for the arguments of its jobs.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from gdispy.worker.own_modules import is_own

#: The program itself; the second name is that in processes started by `multiprocessing`.
MAIN = ("__main__", "__mp_main__")
#: Names that nodes provide to jobs; a program may define its own, for runs without nodes.
OF_NODES = frozenset(
    (
        *("dispy_node_name", "dispy_node_ip_addr", "dispy_job_path", "dispy_provisional_result", "dispy_send_file"),
        *("dispynode_shutdown", "dispynode_logger"),
    )
)
#: Modules that dispy's nodes have imported before a job runs, as observed with dispy 4.15.2.
MODULES = (
    *("copy", "errno", "glob", "hashlib", "io", "marshal"),
    *("multiprocessing", "os", "pickle", "platform", "re", "shutil"),
    *("signal", "socket", "stat", "struct", "subprocess", "sys"),
    *("tempfile", "threading", "time", "traceback"),
)


@dataclass(frozen=True)
class Manner:
    """Which objects are sent by value, and which exist at the other end."""

    #: Modules, including those below them, that are sent by value though installed; and by name though not installed.
    by_value: frozenset[str] = frozenset()
    by_name: frozenset[str] = frozenset()
    #: Modules that exist as files, listed individually: their definitions are sent by name.
    as_files: frozenset[str] = frozenset()
    #: Identifiers of definitions that the other end has.
    known: Container[bytes] = frozenset()
    #: Objects to keep alive as long as results may refer to them.
    kept: tuple[object, ...] = ()
    #: Whether a module belongs to the program.
    is_own: Callable[[str], bool] = is_own

    def is_by_value(self, module: str) -> bool:
        """Whether definitions of a module are sent by value."""
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
    """Findings from pickling a value."""

    #: Identifiers of the definitions, and their names.
    defined: set[bytes] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)
    objects: list[object] = field(default_factory=list)
    #: Modules of the program that are needed as a whole.
    whole: set[str] = field(default_factory=set)
    #: Code in the pickle, with the package of its module.
    codes: list[tuple[types.CodeType, str]] = field(default_factory=list)
