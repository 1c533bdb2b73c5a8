"""Accepting goes on, whatever accept(2) says, and stops in time for others to run."""

from __future__ import annotations

import errno
import os
import resource
from typing import Any

import pytest

from gdispy.transport import acceptor as acceptor_module
from gdispy.transport.acceptor import Acceptor, descriptor_limit

NAMES = ("EPROTO", "ENETDOWN", "EHOSTUNREACH", "EHOSTDOWN", "ENETUNREACH", "EOPNOTSUPP", "ENOPROTOOPT", "ECONNABORTED")


class Server:
    """A listening socket: accepting from it gives these descriptors, or raises these errors."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)

    def _accept(self) -> tuple[int, Any]:
        if not self.outcomes:
            raise BlockingIOError(errno.EAGAIN, "nothing there")
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome, ("10.0.0.1", 1)


class Timer:
    def __init__(self) -> None:
        self.is_set = False

    def start(self, call: Any) -> None:
        self.is_set = True

    def stop(self) -> None:
        self.is_set = False


def accepting(server: Server) -> tuple[Acceptor, list[int]]:
    found: list[int] = []
    acceptor = Acceptor([server], lambda fd, address: found.append(fd))
    acceptor._timer = Timer()
    return acceptor, found


def test_errors_of_single_connections_are_passed_over() -> None:
    errors = [OSError(getattr(errno, name), "error") for name in (*NAMES, "EPERM", "EINTR")]
    server = Server(*(each for number, error in enumerate(errors) for each in (error, number)))
    acceptor, found = accepting(server)
    acceptor._accept(server)
    assert found == list(range(len(errors)))
    assert not acceptor._timer.is_set


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EBADF])
def test_for_want_of_descriptors_or_memory_it_pauses(number: int) -> None:
    server = Server(OSError(number, "error"), 5)
    acceptor, found = accepting(server)
    acceptor._accept(server)
    assert found == [] and acceptor._timer.is_set and server.outcomes == [5]
    acceptor._accept(server)
    assert found == [5]


def test_crowd_is_taken_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(*range(1000))
    acceptor, found = accepting(server)
    times = iter(range(100))
    monkeypatch.setattr(acceptor_module.time, "monotonic", lambda: next(times) * acceptor_module.SLICE)
    acceptor._accept(server)
    assert len(found) == acceptor_module.BATCH


def test_newcomers_are_refused_where_few_descriptors_are_left() -> None:
    fd = os.dup(0)
    server = Server(fd, 3)
    acceptor, found = accepting(server)
    acceptor._limit = fd
    acceptor._accept(server)
    assert found == [3]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert 0 < descriptor_limit() < resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_defect_with_one_connection_is_told_and_the_others_are_taken(caplog: pytest.LogCaptureFixture) -> None:
    found: list[int] = []

    def take(fd: int, address: Any) -> None:
        if fd == 1000:
            raise ZeroDivisionError("planted")
        found.append(fd)

    server = Server(1000, 3)
    acceptor = Acceptor([server], take)
    acceptor._limit = 1 << 31
    acceptor._accept(server)
    assert found == [3] and "planted" in caplog.text


def test_accepting_goes_on_after_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """gevent stops a watcher whose callback has failed."""

    class Watcher:
        call: Any = None

        def start(self, call: Any, *args: Any) -> None:
            self.call = lambda: call(*args)

        def stop(self) -> None:
            self.call = None

    server, watcher = Server(5, 6), Watcher()
    acceptor, found = accepting(server)
    acceptor._watchers.append(watcher)
    monkeypatch.setattr(server, "_accept", lambda: {}["a defect"])
    acceptor._listen()
    watcher.call()
    assert watcher.call is None and acceptor._timer.is_set  # Not at once again, and again, and again.
    monkeypatch.undo()
    acceptor._resume()
    watcher.call()
    assert found == [5, 6]
