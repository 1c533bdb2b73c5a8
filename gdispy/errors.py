"""Every exception of gdispy, one tree.

    GdispyError
    ├─ ConfigError             an argument, option, file or environment variable is invalid
    │   └─ SecretError         the secret, or the file that contains it, is invalid
    ├─ JournalError            a recovery file or journal cannot be read or written
    ├─ ClusterClosed           the cluster no longer takes jobs
    │   └─ ForkedError         this is a forked child; the cluster belongs to its parent
    ├─ JobFailed               a job ended without a result
    ├─ RemoteError             stands for an exception of a job that cannot be unpickled here
    ├─ PeerError               a connection to another process
    │   ├─ ConnectFailed       no process is listening there, or the connection broke: a retry may help
    │   └─ PeerRejected        different secret or protocol, or refused: a retry does not help
    ├─ ProtocolError           bytes that violate docs/protocol.md: the connection is closed
    └─ InternalError           an invariant of gdispy was violated; please report it

The docstring of each class is its default message.
"""

from __future__ import annotations

from typing import Any


class GdispyError(Exception):
    """Something went wrong in gdispy."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or type(self).__doc__ or "")


class ConfigError(GdispyError, ValueError):
    """An argument, option, file or environment variable is invalid."""


class SecretError(ConfigError):
    """The secret, or the file that contains it, is invalid."""


class JournalError(GdispyError):
    """A recovery file, or a journal, cannot be read or written."""


class ClusterClosed(GdispyError):
    """The cluster is closed and accepts no more jobs."""


class ForkedError(ClusterClosed):
    """This process was forked from the process that created the cluster. Create a new cluster here."""


class JobFailed(GdispyError):
    """A job ended without a result. `job` is that job; the message contains its `exception`."""

    def __init__(self, message: str = "", job: Any = None) -> None:
        super().__init__(message)
        self.job = job


class RemoteError(GdispyError):
    """The exception of a job cannot be unpickled here. A subclass with the name of the original exception is the
    `__cause__` of JobFailed."""


class PeerError(GdispyError):
    """A connection to another process failed."""


class ConnectFailed(PeerError):
    """No process is listening there, or the connection broke."""


class PeerRejected(PeerError):
    """The other side refused the connection; a retry does not help."""


class ProtocolError(GdispyError):
    """Bytes arrived that violate the protocol."""


class InternalError(GdispyError):
    """An invariant of gdispy was violated. This is a defect of gdispy; please report it."""
