"""gdispy runs a Python function or a program on many machines, each time with different arguments.

The public names are loaded on first use: importing the package patches nothing, starts nothing and loads little.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gdispy import config
from gdispy.config import VERSION as __version__

# Attributes of the package `dispy` that programs may read.
_dispy_version = __version__
__author__ = __maintainer__ = __contributors__ = "the authors of gdispy"
__email__ = __url__ = ""
__copyright__ = "Copyright, the authors of gdispy"
__license__ = "Apache 2.0"
__status__ = "Alpha"

if TYPE_CHECKING:
    from gdispy.client.cluster import JobCluster
    from gdispy.client.executor import Executor
    from gdispy.client.futures import WorkerDied
    from gdispy.client.job import DispyJob
    from gdispy.client.node_allocate import NodeAllocate
    from gdispy.client.shared_cluster import SharedJobCluster
    from gdispy.client.status import ClusterStatus, DispyNode, DispyNodeAvailInfo
    from gdispy.errors import (
        ClusterClosed,
        ConfigError,
        ConnectFailed,
        ForkedError,
        GdispyError,
        JobFailed,
        JournalError,
        PeerError,
        PeerRejected,
        RemoteError,
        SecretError,
    )
    from gdispy.log import logger
    from gdispy.recover import fault_recover_jobs, recover_jobs
    from gdispy.transport.credentials import generate_secret

_MODULES = {
    "JobCluster": "client.cluster",
    "Executor": "client.executor",
    "WorkerDied": "client.futures",
    "SharedJobCluster": "client.shared_cluster",
    "NodeAllocate": "client.node_allocate",
    "DispyJob": "client.job",
    "fault_recover_jobs": "recover",
    "recover_jobs": "recover",
    "ClusterStatus": "client.status",
    "DispyNode": "client.status",
    "DispyNodeAvailInfo": "client.status",
    "generate_secret": "transport.credentials",
    "logger": "log",
    "MsgTimeout": "config",
    **dict.fromkeys(["num_min", "num_max", "auth_code"], "worker.helpers_of_dispy"),
    **dict.fromkeys(
        [
            *("ClusterClosed", "ConfigError", "ConnectFailed", "ForkedError", "GdispyError", "JobFailed"),
            *("JournalError", "PeerError", "PeerRejected", "RemoteError", "SecretError"),
        ],
        "errors",
    ),
}

__all__ = [  # noqa: RUF022 (in groups)
    # running jobs
    "JobCluster",
    "SharedJobCluster",
    "Executor",
    "DispyJob",
    "NodeAllocate",
    "generate_secret",
    # after a crash
    "fault_recover_jobs",
    "recover_jobs",
    # looking at them
    "ClusterStatus",
    "DispyNode",
    "DispyNodeAvailInfo",
    "config",
    "logger",
    # what can go wrong
    "WorkerDied",
    "ClusterClosed",
    "ConfigError",
    "ConnectFailed",
    "ForkedError",
    "GdispyError",
    "JobFailed",
    "JournalError",
    "PeerError",
    "PeerRejected",
    "RemoteError",
    "SecretError",
    "__version__",
]


#: Modules whose classes users may have pickled or imported under their path in version 0.1.
_FORMER_MODULES = {
    "allocation": "client.node_allocate",
    "flow": "client.map_results",
    "status": "client.status",
}
_FORMER_NAMES = {"Results": "MapResults"}


class _FormerModule(ModuleType):
    """Stands for a module that was moved; loads the new module on first use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        module = import_module(f"gdispy.{_FORMER_MODULES[self.__name__.rpartition('.')[2]]}")
        return getattr(module, _FORMER_NAMES.get(name, name))


for _name in _FORMER_MODULES:
    globals()[_name] = sys.modules.setdefault(f"gdispy.{_name}", _FormerModule(f"gdispy.{_name}"))


def __getattr__(name: str) -> Any:
    path = _MODULES.get(name)
    if path is None:
        raise AttributeError(f"module 'gdispy' has no attribute {name!r}")
    module = import_module(f"gdispy.{path}")
    value = getattr(module, name)
    if name == "logger":  # The program writes its own lines to this logger.
        module.show_on_terminal()
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
