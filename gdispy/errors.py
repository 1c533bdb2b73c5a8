"""Every exception of gdispy, one tree.

    GdispyError
    ├─ ConfigError             an argument, option, file or environment variable is unusable
    │   └─ SecretError         the secret, or the file it should come from, is unusable
    ├─ JournalError            a recovery file or journal cannot be read or written
    ├─ ClusterClosed           the cluster no longer takes jobs
    │   └─ ForkedError         this is a forked child; the cluster lives in its parent
    ├─ JobFailed               a job ended without a result
    ├─ RemoteError             stands for what a job raised, where that cannot be unpickled here
    ├─ PeerError               a connection to another process
    │   ├─ ConnectFailed       nobody answers there, or the connection broke: trying again may help
    │   └─ PeerRejected        other secret, other protocol, refused: trying again does not help
    ├─ ProtocolError           bytes that do not follow docs/protocol.md: the connection is closed
    └─ InternalError           an invariant of gdispy itself broke; please report it

The docstring of each is also its message where none is given.
"""

from __future__ import annotations

from typing import Any


class GdispyError(Exception):
    """Something went wrong in gdispy."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or type(self).__doc__ or "")


class ConfigError(GdispyError, ValueError):
    """An argument, option, file or environment variable is unusable."""


class SecretError(ConfigError):
    """The secret, or the file it should come from, is unusable."""


class JournalError(GdispyError):
    """A recovery file, or a journal, cannot be read or written."""


class ClusterClosed(GdispyError):
    """The cluster is closed and takes no more jobs."""


class ForkedError(ClusterClosed):
    """This process was forked from the one that made the cluster. Make a cluster of its own here."""


class JobFailed(GdispyError):
    """A job ended without a result. `job` is that job; the message holds what it had in `exception`."""

    def __init__(self, message: str = "", job: Any = None) -> None:
        super().__init__(message)
        self.job = job


class RemoteError(GdispyError):
    """What a job raised cannot be unpickled here. A class derived from this one, with the name of the original, is the
    `__cause__` of JobFailed."""


class PeerError(GdispyError):
    """A connection to another process failed."""


class ConnectFailed(PeerError):
    """Nobody answers there, or the connection broke."""


class PeerRejected(PeerError):
    """The other side refused the connection, and would do so again."""


class ProtocolError(GdispyError):
    """Bytes arrived that do not follow the protocol."""


class InternalError(GdispyError):
    """An invariant of gdispy broke. This is a defect of gdispy; please report it."""
