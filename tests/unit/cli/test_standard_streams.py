"""Output of a command that cannot be written, and standard streams that are closed."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.cli import standard_streams as module
from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE
from gdispy.cli.standard_streams import OutputLost, guarded

CLOSED = "standard output was closed before all output was written"
FULL = f"standard output cannot be written: {os.strerror(errno.ENOSPC)}"


class Streams:
    """Pipes instead of the standard streams of a command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads, output = os.pipe()
        self.errors, errors = os.pipe()
        self.fds = {1: output, 2: errors}
        self.opened = 0
        for name in ("_StandardOutput", "_Output"):
            kind = getattr(module, name)
            monkeypatch.setattr(module, name, lambda fd, kind=kind: kind(self.fds[fd]))
        monkeypatch.setattr(module, "_open_closed_ones", self._open)
        # `guarded` replaces both, and this restores them.
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "utf-8"))

    def _open(self) -> None:
        self.opened += 1

    def fill(self) -> None:
        """Standard output is on a full disk."""
        os.close(self.fds[1])
        self.fds[1] = os.open("/dev/full", os.O_WRONLY)

    def read(self) -> tuple[bytes, bytes]:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for fd in self.fds.values():
            os.close(fd)
        return self._rest(self.reads), self._rest(self.errors)

    def _rest(self, fd: int) -> bytes:
        return b"".join(iter(lambda: os.read(fd, 4096), b"")) if fd >= 0 else b""


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[Streams]:
    found = Streams(monkeypatch)
    yield found
    for fd in (found.reads, found.errors):
        os.close(fd)


def printing(text: str, code: int = 0) -> Any:
    def command() -> int:
        print(text)
        return code

    return command


def test_output_and_exit_code_of_a_command_are_its_own(streams: Streams) -> None:
    def command() -> int:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        return 3

    assert guarded("gdispy", command) == 3
    assert streams.read() == (b"to stdout\n", b"to stderr\n") and streams.opened == 1


@pytest.mark.parametrize(("raised", "code"), [(None, 0), (0, 0), (2, 2), ("a text", EXIT_FAILED)])
def test_exit_of_a_command_is_its_code(streams: Streams, raised: Any, code: int) -> None:
    def command() -> int:
        raise SystemExit(raised)

    assert guarded("gdispy", command) == code
    streams.read()


@pytest.mark.parametrize("length", [1, 100_000])
def test_output_to_a_full_disk_is_a_failure_in_one_line(streams: Streams, length: int) -> None:
    streams.fill()
    assert guarded("gdispy run", printing("x" * length)) == EXIT_FAILED
    assert streams.read()[1] == f"gdispy run: {FULL}\n".encode()


def test_output_to_a_closed_pipe_is_a_failure_in_one_line(streams: Streams) -> None:
    os.close(streams.reads)
    assert guarded("gdispy run", printing("x")) == EXIT_FAILED
    streams.reads = os.open(os.devnull, os.O_RDONLY)
    assert streams.read()[1] == f"gdispy run: {CLOSED}\n".encode()


def test_command_that_fails_otherwise_keeps_its_code_although_output_was_lost(streams: Streams) -> None:
    streams.fill()

    def command() -> int:
        try:
            print("x", flush=True)
        except OutputLost:
            return EXIT_USAGE
        return 0

    assert guarded("gdispy", command) == EXIT_USAGE
    streams.read()


def test_success_is_not_reported_if_output_was_lost_although_the_command_has_caught_that(streams: Streams) -> None:
    streams.fill()

    def command() -> int:
        with contextlib.suppress(OutputLost):
            print("x", flush=True)
        return 0

    assert guarded("gdispy", command) == EXIT_FAILED
    streams.read()


def test_lost_standard_error_is_a_failure_but_stops_nothing(streams: Streams) -> None:
    os.close(streams.fds[2])
    streams.fds[2] = os.open("/dev/full", os.O_WRONLY)

    def command() -> int:
        for number in range(3):
            print(number, file=sys.stderr, flush=True)
            print(number)
        return 0

    assert guarded("gdispy", command) == EXIT_FAILED
    assert streams.read()[0] == b"0\n1\n2\n"


def test_command_without_standard_output_does_not_run(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert guarded("gdispy nodes", lambda: pytest.fail("it ran")) == EXIT_FAILED
    text = b"gdispy nodes: standard output is closed: redirect it, for example to /dev/null\n"
    assert streams.read() == (b"", text)


def test_character_that_the_encoding_lacks_does_not_lose_the_line(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert guarded("gdispy", printing("caf\xe9 \udce9")) == 0
    assert streams.read()[0] == b"caf\\xe9 \\udce9\n"


def test_output_waits_for_a_terminal_that_another_process_has_made_non_blocking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[Any] = [BlockingIOError(), BlockingIOError(), 3]
    waited: list[Any] = []

    def write(fd: int, data: bytes) -> int:
        outcome = tries.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return int(outcome)

    monkeypatch.setattr(module.os, "write", write)
    monkeypatch.setattr(module, "get_original", lambda *_: lambda *sets: waited.append(sets))
    assert module._StandardOutput(7).write(b"abc") == 3
    assert waited == 2 * [([], [7], [])]


@pytest.mark.parametrize("closed", [{0}, {1, 2}, {0, 1, 2}, set()])
def test_closed_descriptors_are_taken_so_that_no_file_gets_them(
    closed: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def fstat(fd: int) -> None:
        if fd in closed - set(opened):
            raise OSError(errno.EBADF, "closed")

    def open_(path: str, flags: int) -> int:
        assert (path, flags) == (os.devnull, os.O_RDWR)
        opened.append(min(closed - set(opened)))
        return opened[-1]

    inherited: list[int] = []
    system = SimpleNamespace(
        fstat=fstat,
        open=open_,
        devnull=os.devnull,
        O_RDWR=os.O_RDWR,
        set_inheritable=lambda fd, _: inherited.append(fd),
    )
    monkeypatch.setattr(module, "os", system)
    module._open_closed_ones()
    assert opened == inherited == sorted(closed)


def test_descriptor_that_cannot_be_examined_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fstat(fd: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(module, "os", SimpleNamespace(fstat=fstat))
    with pytest.raises(OSError, match="broken"):
        module._open_closed_ones()
