"""gdispy's functions in place of cloudpickle's, for cloudpickle's own tests (see tests/cloudpickle_suite.py).

That script copies this file beside the cloudpickle that the tests import, which calls `take_over` when it is imported,
in the process of the tests and in all that they start. What cannot be had by gdispy's functions, such as protocols, is
left out of account here.
"""

from __future__ import annotations

import importlib
import pickle
import threading
from typing import Any

from gdispy.worker import pickling

#: As they are before the tests see others.
_loads_plain, _dumps_plain = pickle.loads, pickle.dumps
_here = threading.local()


def dumps(obj: object, protocol: int | None = None, buffer_callback: Any = None) -> bytes:
    """As cloudpickle's: bytes that `pickle.loads` takes."""
    payload = pickling.dumps(obj)
    whole = payload if isinstance(payload, bytes) else b"".join(payload)
    return whole if whole[:1] == b"\x80" else _dumps_plain(_Wrapped(whole), 5)


def dump(obj: object, file: Any, protocol: int | None = None, buffer_callback: Any = None) -> None:
    file.write(dumps(obj))


def loads(data: Any, /, **options: Any) -> Any:
    """In the tests it stands for `pickle.loads` as well, which gdispy itself calls, too."""
    if options or bytes(data[:1]) != b"\x80" or getattr(_here, "is_inside", False):
        return _loads_plain(data, **options)
    _here.is_inside = True
    try:
        return pickling.loads(bytearray(data))
    finally:
        _here.is_inside = False


def load(file: Any, /, **options: Any) -> Any:
    return loads(file.read(), **options)


class _Wrapped:
    """A payload with buffers aside, which is no pickle, within one."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __reduce__(self) -> Any:
        return pickling.loads, (bytearray(self.payload),)


def take_over() -> None:
    """Called when cloudpickle has been imported."""
    for name in ("cloudpickle", "cloudpickle.cloudpickle", "cloudpickle.cloudpickle_fast"):
        module: Any = importlib.import_module(name)
        module.dumps, module.dump, module.loads, module.load = dumps, dump, loads, load
    pickle.loads, pickle.load = loads, load  # type: ignore[assignment]
