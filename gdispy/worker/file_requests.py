"""Takes files from processes of the running program (`send_file_command.py`) and sends them to the client.

Runs in the worker's only thread, while it waits for the program.

A process of the job connects to a socket in the worker's private directory, and sends the absolute path of the file,
with the open file. It gets one answer: `GOOD`, or another byte and the error.

Invariants:
1. Only processes below this worker are served, and only with files that they have opened themselves: the worker opens
   nothing for them. The directory keeps out other users, the check of the process keeps out other jobs of this user.
2. The end of the program ends the wait, whatever the other ends of connections do; no connection is left open.
3. One file at a time is with the client. The others wait in the socket and in their processes.
"""

from __future__ import annotations

import contextlib
import select
import shlex
import socket
import stat
import struct
import sys
from typing import TYPE_CHECKING

from gdispy.worker import control, send_file_command
from gdispy.worker.originals import os
from gdispy.worker.process_tree import is_below
from gdispy.worker.send_file_command import ANSWER_LIMIT, GOOD

if TYPE_CHECKING:
    import resource

    from gdispy.worker.runner import Job

_BAD = b"-"
#: Processes that may be connected at the same time; others wait in the queue of the socket.
_CONNECTIONS = 8
_QUEUE = 64
_PATH_LIMIT = 4096
_CREDENTIALS = struct.Struct("3i")
#: The name of the socket in the worker's directory.
_SOCKET = "send_file"


def install_command(directory: str) -> str:
    """Create the command in a directory, which programs have in their PATH; returns the directory. Raises OSError."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, "dispy_send_file")
    words = " ".join(map(shlex.quote, (sys.executable, "-I", "-S", send_file_command.__file__)))
    # A shell, since the first line of a script may be neither long nor contain spaces.
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f'#!/bin/sh\nexec {words} "$@"\n')
    os.chmod(path, 0o700)
    return directory


class FileRequests:
    """The socket of one worker, for its jobs one after the other."""

    def __init__(self, directory: str) -> None:
        """Raises OSError."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.path = os.path.join(directory, _SOCKET)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        held = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The address of a socket must be short, and the path need not be.
            self._listener.bind(f"/proc/self/fd/{held}/{_SOCKET}")
        finally:
            os.close(held)
        self._listener.setblocking(False)
        self._listener.listen(_QUEUE)
        #: Connected processes whose files have not been taken, by descriptor.
        self._connected: dict[int, socket.socket] = {}
        #: The process whose file is with the client, and the token of the file.
        self._served: socket.socket | None = None
        self._token = 0

    def wait(self, program: int, job: Job) -> tuple[int, resource.struct_rusage]:
        """Wait for the end of a process of the job, and send files meanwhile; returns the wait status, and what the
        process has used."""
        held = os.pidfd_open(program)
        try:
            while True:
                ready = self._poll(held, job)
                if held in ready:
                    return os.wait4(program, 0)[1:]
                self._serve(ready, job)
        finally:
            os.close(held)
            self._hang_up()

    def _poll(self, program: int, job: Job) -> set[int]:
        poll = select.poll()
        poll.register(program, select.POLLIN)
        if len(self._connected) < _CONNECTIONS:
            poll.register(self._listener, select.POLLIN)
        if self._served is not None:
            poll.register(job.worker.answers, select.POLLIN)
        else:
            for fd in self._connected:
                poll.register(fd, select.POLLIN)
        return {fd for fd, _ in poll.poll()}

    def _serve(self, ready: set[int], job: Job) -> None:
        if self._served is not None and job.worker.answers in ready:
            token, error = job.worker.next_answer()
            if token == self._token:  # And not that of a file whose job has ended.
                served, self._served = self._served, None
                _answer(served, error)
        for fd in ready & self._connected.keys():
            if self._served is None:
                self._take(self._connected.pop(fd), job)
        if self._listener.fileno() in ready:
            self._accept()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            end, _ = self._listener.accept()
            end.setblocking(False)
            self._connected[end.fileno()] = end

    def _take(self, end: socket.socket, job: Job) -> None:
        """Read a request and send its file to the client."""
        try:
            data, ancillary, _, _ = end.recvmsg(_PATH_LIMIT, socket.CMSG_SPACE(4))
        except OSError:
            data, ancillary = b"", []
        files = control.descriptors(ancillary)
        try:
            if not data or len(files) != 1:  # The process has ended, or is not the command.
                end.close()
                return
            error = self._offer(files[0], shown_path(os.fsdecode(data)), end, job)
        finally:
            control.close_all(files)
        if error:
            _answer(end, error)
        else:
            self._served = end

    def _offer(self, file: int, shown: str, end: socket.socket, job: Job) -> str:
        """Send a file to the client; returns why that is impossible, or ''."""
        if not is_below(_peer(end), os.getpid()):
            return "only processes of the job itself can send its files"
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                return f"{shown}: it is not a file"
            self._token = job.offer_file(file, shown)
        except OSError as error:
            return f"{shown}: {error.strerror}"
        return ""

    def _hang_up(self) -> None:
        """The program has ended, and its processes are about to be killed."""
        for end in (*self._connected.values(), *([self._served] if self._served is not None else [])):
            end.close()
        self._connected.clear()
        self._served = None
        with contextlib.suppress(OSError):
            while True:
                self._listener.accept()[0].close()


def shown_path(path: str) -> str:
    """The path of a file at the client: that below the working directory of the job, or else only its name."""
    here = os.getcwd()
    for each in (path, os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))):
        below = os.path.relpath(each, here)
        if below.split(os.sep)[0] != os.pardir:
            return below
    return os.path.basename(path)


def _peer(end: socket.socket) -> int:
    """The process at the other end."""
    pid, _, _ = _CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(pid)


def _answer(end: socket.socket, error: str) -> None:
    with contextlib.suppress(OSError), end:
        end.send(_BAD + error.encode("utf-8", "replace")[: ANSWER_LIMIT - 1] if error else GOOD)
