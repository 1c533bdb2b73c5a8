"""Starting the installed commands, and making sure that nothing of them is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gdispy.worker.process_tree import descendants
from tests.support.waiting import eventually

SCRIPTS = Path(sys.executable).parent


def alive(pid: int) -> bool:
    """Whether a process runs; the dead that nobody has waited for do not count."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


@contextlib.contextmanager
def ended(*processes: subprocess.Popen[Any]) -> Iterator[None]:
    """Whatever happens, these are ended, and nothing of them is left."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


class Daemon:
    """A running `gdispy-node`, or another daemon; `place` is its host and port."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        env: dict[str, str] | None = None,
        script: str = "gdispy-node",
        python: str = sys.executable,
        within: Sequence[str] = (),
    ) -> None:
        self.log = directory / f"node-{os.urandom(4).hex()}.log"
        command = [*within, python, str(SCRIPTS / script), "--daemon", "-p", "0", *options]
        if options[:1] == ("relay",):
            command = [*within, python, str(SCRIPTS / script), *options]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        if not line.startswith("ready "):
            self.process.kill()
            self.process.wait(10)
            self.process.stdout.close()
            raise AssertionError(f"no ready line: {line!r}\n{self.log.read_text()}")
        host, _, port = line.split()[1].rpartition(":")
        self.place = (host, int(port))

    @property
    def pid(self) -> int:
        return self.process.pid

    def below(self) -> list[int]:
        """Every process that the node has, however far below."""
        return descendants(self.pid)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def bury(self) -> None:
        """Kill it, and keep nothing of it."""
        self.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> None:
        """End it as an operator would, and check that nothing is left."""
        below = self.below()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
                raise
        assert self.process.stdout is not None
        self.process.stdout.close()
        eventually(lambda: not any(map(alive, below)), 5, "processes of the node are left")


def lacking(reason: str) -> NoReturn:
    """Skip a test that needs what is not there; in CI it is to be there."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def run_script(name: str, *words: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run an installed command to its end."""
    command = [sys.executable, str(SCRIPTS / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, timeout=60, **options)


def run_python(code: str, *words: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a program of the user to its end."""
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, timeout=60, **options)
