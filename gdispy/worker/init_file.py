"""The Python file that a node runs before all computations: `gdispy-node --init FILE`.

Run by the spawner, once, so its objects are shared with all jobs without copying. The file defines a function `init()`,
which returns 0 on success, and optionally `close()`, which is called when the node stops. Its global names become
builtins, which functions of jobs see wherever they are defined; except names that Python defines, and those with an
underscore.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import signal
import sys
import traceback
import types

#: Time limit of `close()` in seconds.
CLOSE_LIMIT = 10


class Startup:
    """One such file; its path is '' if there is none."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._module = types.ModuleType("gdispy_init")
        self._module.__file__ = path
        #: The global names that it has defined.
        self.exported: dict[str, object] = {}

    def run(self) -> str:
        """Run the file and its `init()`; returns the error, or ''."""
        if not self._path:
            return ""
        try:
            # Its output must not be mistaken for that of the node.
            with contextlib.redirect_stdout(sys.stderr):
                result = self._init()
        except BaseException as failure:
            trace = traceback.format_exception(type(failure), failure, failure.__traceback__.tb_next)  # type: ignore[union-attr]
            return f"{self._path} failed:\n" + "".join(trace).rstrip()
        if result is not None and (isinstance(result, bool) or result != 0):
            return f"init() in {self._path} returned {result!r}; 0 means success"
        return ""

    def _init(self) -> object:
        names = self._module.__dict__
        sys.modules[self._module.__name__] = self._module
        sys.path.insert(0, os.path.dirname(self._path))
        with open(self._path, "rb") as file:
            exec(compile(file.read(), self._path, "exec"), names)
        if not callable(names.get("init")):
            raise TypeError("it does not define init()")
        result = names["init"]()
        known = {"init", "close", *vars(builtins)}
        self.exported = {name: names[name] for name in names.keys() - known if not name.startswith("_")}
        vars(builtins).update(self.exported)
        return result

    def close(self) -> None:
        """Call `close()` of the file, if defined; errors are logged and do not stop anything."""
        close = self._module.__dict__.get("close")
        if not callable(close):
            return
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(CLOSE_LIMIT)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                close()
        except BaseException:
            traceback.print_exc()
        finally:
            signal.alarm(0)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"close() took longer than {CLOSE_LIMIT} s")
