"""Where jobs come from: the cluster that they belong to, as far as a job needs it after it was submitted.

All jobs of a cluster share one object. It does not keep the cluster alive. Used in the user's threads.
"""

from __future__ import annotations

import logging
import types
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gdispy.client.engine import ClusterEngine


logger = logging.getLogger("gdispy")


class JobSource:
    """The function of a cluster, and its engine while it exists."""

    __slots__ = ("_engine", "_globals", "_warned_of", "function", "name")

    def __init__(self, name: str, function: Callable[..., Any] | None, engine: ClusterEngine) -> None:
        """`function` is None for a program."""
        self.name = name
        #: Called with the arguments of a job in this process.
        self.function = function
        self._engine = weakref.ref(engine)
        #: Where the function has its name, if it does.
        self._globals: dict[str, Any] | None = None
        if isinstance(function, types.FunctionType):
            names = function.__globals__
            self._globals = names if names.get(function.__name__) is function else None
        #: The other function that the user was told of.
        self._warned_of: object = None

    def warn_if_redefined(self) -> None:
        """Log a warning if the name of the function means another function now, as after a changed cell of a notebook
        was run again: the cluster runs the function that it was created with."""
        if self._globals is None or self.function is None:
            return
        present = self._globals.get(self.name)
        is_other = isinstance(present, types.FunctionType) and present is not self.function
        if is_other and present is not self._warned_of:
            self._warned_of = present
            logger.warning(
                "%s was defined again, but this cluster runs the function that it was created with: create a new "
                "cluster for the new one",
                self.name,
            )

    def engine(self) -> ClusterEngine | None:
        return self._engine()
