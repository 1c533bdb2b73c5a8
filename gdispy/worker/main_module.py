"""`__main__` for jobs, also in processes that they start afresh.

Standard library. Made by the template.

A job may use `multiprocessing` with the method spawn or forkserver, the default on Linux from Python 3.14 on. The new
process runs the file of `__main__` under another name, and looks up its function there by name. A computation sent by
value has no such file: when `multiprocessing` requests one, it is written, and loads the computation.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import types

#: A larger computation is not kept for that.
_LIMIT = 16 * 1024 * 1024
_PROGRAM = """
import sys
sys.path += {path!r}
from gdispy.worker import pickling
with open({body!r}, "rb") as file:
    data = file.read()
with pickling.loading_computation():
    found = pickling.loads(data)
for states in found[4:]:
    from gdispy.worker.module_state import StateFinder
    StateFinder(states, pickling.loads).install()
globals().update({{name: value for name, value in vars(sys.modules["__main__"]).items() if name[:2] != "__"}})
"""


class MainModule(types.ModuleType):
    """The module; `body` is the received computation, and `directory` may contain files of this process."""

    def __init__(self, body: bytearray, directory: str) -> None:
        super().__init__("__main__")
        self.__dict__["__gdispy__"] = (bytes(body) if len(body) <= _LIMIT else b"", directory)

    def __getattr__(self, name: str) -> str:
        body, directory = self.__dict__.get("__gdispy__", (b"", ""))
        if name != "__file__" or not body:
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        with contextlib.suppress(OSError):
            # Found by all processes that are forked from here later.
            self.__dict__["__file__"] = _written(body, directory)
            return str(self.__dict__["__file__"])
        raise AttributeError(f"module '__main__' has no attribute {name!r}")


def _written(body: bytes, directory: str) -> str:
    os.makedirs(directory, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="main-", dir=directory)
    path = os.path.join(folder, "computation")
    with open(path, "wb") as file:
        file.write(body)
    where = [os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))]
    program = os.path.join(folder, "main.py")
    with open(program, "w") as text:
        text.write(_PROGRAM.format(path=where, body=path))
    return program
