"""The processes of a run: daemons and honest programs, each started, measured, killed and started again.

All methods are called in the main thread, which the processes do not outlive; a thread for each process reads what it
prints. A process that is started again has the same port and the same directories.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gdispy.worker.process_tree import die_with_parent
from tests.support.daemons import alive

#: Seconds that a process may take to start, and to end when it is asked to.
READY_LIMIT = 20.0
END_LIMIT = 5.0
#: Characters of a log that are shown of a process that has ended.
TAIL = 600


class Usage(NamedTuple):
    """What a process takes: bytes of resident memory and of memory files, descriptors, files in its directories."""

    resident: int = 0
    memory_files: int = 0
    descriptors: int = 0
    files: int = 0


def free_port() -> int:
    """A port where nothing listens at present."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Process:
    """One process. It prints a line that begins with 'ready' when it can be used."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        directories: Sequence[Path] = (),
        on_line: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name = name
        self.log = log
        self.directories = directories
        self._command = list(command)
        self._on_line = on_line
        self._ready = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start it, and do not wait for it."""
        self._ready = threading.Event()
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.log.parent / "work",
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
        threading.Thread(target=self._read, args=(self._process, self._ready), daemon=True).start()

    def _read(self, process: subprocess.Popen[bytes], ready: threading.Event) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in process.stdout:
                if line.startswith(b"ready"):
                    ready.set()
                else:
                    self._on_line(line.decode("utf-8", "replace"))

    def await_ready(self, within: float = READY_LIMIT) -> bool:
        """Whether it can be used, at the latest after so many seconds."""
        return self._ready.wait(within) and self.is_up()

    def start(self) -> bool:
        self.launch()
        return self.await_ready()

    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def say(self, line: str) -> None:
        """Give it a line on its standard input."""
        with contextlib.suppress(OSError, ValueError):
            assert self._process is not None and self._process.stdin is not None
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def kill(self) -> None:
        """End it at once, by its pid."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._bury()

    def end(self) -> None:
        """End it as an operator would, or else kill it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_LIMIT)
        self.kill()

    def finish(self) -> None:
        """Close its standard input, so that it ends by itself and leaves nothing behind; or else kill it."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
                self._process.stdin.close()
                self._process.wait(END_LIMIT)
        self.kill()

    def _bury(self) -> None:
        assert self._process is not None
        self._process.wait(END_LIMIT)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()

    def log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def log_tail(self, since: int = 0) -> str:
        """The last of what it has written to its log from that place on."""
        if not self.log.exists():
            return ""
        with open(self.log, "rb") as file:
            file.seek(max(since, self.log_size() - TAIL))
            return file.read().decode("utf-8", "replace")

    def usage(self) -> Usage:
        """What it takes now; nothing where it has ended."""
        if self._process is None or not alive(self.pid):
            return Usage()
        sizes = [_memory_file(f"/proc/{self.pid}/fd/{each}") for each in _names(f"/proc/{self.pid}/fd")]
        files = sum(len(names) for each in self.directories for _, _, names in os.walk(each))
        return Usage(resident_bytes(self.pid), sum(sizes), len(sizes), files)


class Peaks:
    """The most that a process has taken since `begin`; a thread of its own looks twenty times a second."""

    INTERVAL = 0.05

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.resident = self.descriptors = 0

    def begin(self, process: Process) -> None:
        self.resident = self.descriptors = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(process, self._stop), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)

    def _watch(self, process: Process, stop: threading.Event) -> None:
        while not stop.wait(self.INTERVAL):
            if process.is_up():
                self.resident = max(self.resident, resident_bytes(process.pid))
                self.descriptors = max(self.descriptors, len(_names(f"/proc/{process.pid}/fd")))


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where there is none."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _memory_file(path: str) -> int:
    """Bytes that a descriptor holds as a memory file."""
    try:
        return os.stat(path).st_blocks * 512 if os.readlink(path).startswith("/memfd:") else 0
    except OSError:
        return 0
