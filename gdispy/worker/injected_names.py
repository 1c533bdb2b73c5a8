"""The names that a computation sees without importing them, as programs for dispy expect.

Installed once in each template, before the computation is loaded. The names become builtins, since functions arrive
with separate globals, and builtins are visible to all of them.
"""

from __future__ import annotations

import builtins
import importlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from gdispy.worker import pickling
from gdispy.worker.helpers_of_dispy import auth_code, num_max, num_min
from gdispy.worker.manner import MODULES
from gdispy.worker.node_log import NODE_LOGGER
from gdispy.worker.runner import running

#: Some are not part of Python: they are imported on first use by a job, if they are installed.
LATE_MODULES = ("psutil", "netifaces")


class _Late:
    """Stands for a module until it is used."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Inspecting it, as pickling does, is not a use.
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


class _LateClass:
    """Stands for a class until it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._place = (module, name)

    def _found(self) -> Any:
        module, name = self._place
        return getattr(importlib.import_module(module), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._found()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._found(), name)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, self._found())


def of_dispy() -> dict[str, object]:
    """Names of dispy's module that computations use."""
    return {
        "dispy": _Late("gdispy"),
        "DispyJob": _LateClass("gdispy.client.job", "DispyJob"),
        "DispyNodeAvailInfo": _LateClass("gdispy.client.status", "DispyNodeAvailInfo"),
        "MsgTimeout": 10,
        "MaxFileSize": 0,
        "serialize": pickling.serialize,
        "deserialize": pickling.deserialize,
        "num_min": num_min,
        "num_max": num_max,
        "auth_code": auth_code,
    }


def provide(node_name: str, address: str, directory: str) -> dict[str, object]:
    """Define the names as builtins, and as environment variables for programs; returns all of them."""
    texts = {
        "dispy_node_name": node_name,
        "dispy_node_ip_addr": address,
        "dispy_job_path": directory,
    }
    names: dict[str, object] = {name: importlib.import_module(name) for name in MODULES}
    names.update((name, _Late(name)) for name in LATE_MODULES)
    names["dispy_provisional_result"] = dispy_provisional_result
    names["dispy_send_file"] = dispy_send_file
    names["dispynode_shutdown"] = dispynode_shutdown
    names["dispynode_logger"] = logging.getLogger(NODE_LOGGER)
    names.update({**of_dispy(), **texts})
    for name, value in names.items():
        setattr(builtins, name, value)
    os.environ.update(texts)
    os.environ["PATH"] = directory + os.pathsep + os.environ.get("PATH", os.defpath)
    return names


def dispy_provisional_result(result: object, relay: bool = False, timeout: float | None = None) -> int:
    """Send an intermediate value of the running job to the client, and continue.

    The client's callback gets the job with status `ProvisionalResult` and this value as `result`,
    in the order of the calls and before the final result. Returns 0, or -1 outside a job. Raises
    the exception of pickling for a value that cannot be pickled. `relay` and `timeout` are for compatibility.
    """
    job = running.job
    if job is None:
        return -1
    return 0 if job.provide(result) else -1


def dispy_send_file(path: str, relay: bool = False, timeout: float | None = None) -> int:
    """Send a file to the client, and wait until it is stored: below its working directory, at the same relative path; a
    file from elsewhere keeps only its name.

    Returns 0, or -1 outside a job, or if the file cannot be read here or written there; the reason is printed to
    standard error. `relay` and `timeout` are for compatibility.
    """
    job = running.job
    if job is None:
        return -1
    try:
        shown = os.path.relpath(path)
        if shown.split(os.sep)[0] == os.pardir:
            shown = os.path.basename(path)
        error = job.send_file(path, shown.replace(os.sep, "/"))
    except OSError as failure:
        error = f"{path}: {failure.strerror or failure}"
    except (TypeError, ValueError) as failure:  # It is not a valid file name.
        error = f"{path!r}: {failure}"
    if error:
        print(f"dispy_send_file: {error}", file=sys.stderr)
    return -1 if error else 0


def dispynode_shutdown() -> int:
    """Stop the node when its current computations have ended. For cleanup functions.

    Returns 0, or -1 elsewhere, and on a node that was started without `--client_shutdown`.
    """
    if not _shutdown:
        return -1
    _shutdown[-1]()
    return 0


#: Requests the end of the node; empty if that is not allowed.
_shutdown: list[Callable[[], None]] = []


def allow_shutdown(ask: Callable[[], None]) -> None:
    """Set the function that `dispynode_shutdown` calls. Used before cleanup."""
    _shutdown.append(ask)
