"""Interrupted cells of a notebook: the calls that such a cell has submitted to executors are cancelled.

Otherwise the calls of the next cell would wait behind calls whose results are not wanted any more. Runs in the thread
of the cells. IPython is not imported: it is there, or this is no notebook.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from typing import TYPE_CHECKING, Any

from gdispy.client.job_numbers import next_number

if TYPE_CHECKING:
    from gdispy.client.executor import Executor


class _Cells:
    """The cells of one IPython shell, and the executors of the program."""

    def __init__(self, shell: Any) -> None:
        self.executors: weakref.WeakSet[Executor] = weakref.WeakSet()
        #: Jobs of the running cell have greater numbers.
        self._before = next_number()
        shell.events.register("pre_run_cell", self._begin)
        shell.events.register("post_run_cell", self._end)

    def _begin(self, _info: object = None) -> None:
        self._before = next_number()

    def _end(self, result: Any) -> None:
        if isinstance(getattr(result, "error_in_exec", None), KeyboardInterrupt):
            for executor in list(self.executors):
                with contextlib.suppress(Exception):  # It may be shut down, or be of a parent process.
                    executor._cancel_since(self._before)


_cells: dict[int, _Cells] = {}


def watch(executor: Executor) -> None:
    """Have the calls of this executor cancelled that an interrupted cell has submitted, if this is a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return
    if id(shell) not in _cells:
        _cells[id(shell)] = _Cells(shell)
    _cells[id(shell)].executors.add(executor)
