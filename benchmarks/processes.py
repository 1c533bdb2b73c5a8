"""The processes of the benchmark: how they are started, watched, bounded in time and ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from sides import CPUS, MeasureError

from gdispy import generate_secret

HERE = Path(__file__).parent
#: Seconds in which a node must be ready, and in which a process must end when it is told to.
START_LIMIT = 20.0
END_LIMIT = 10.0
#: Seconds that a client gets beyond its own limit, to say what was wrong.
GRACE = 15.0


class NodePlace(NamedTuple):
    """A running node: its process, where it listens, and the file with its secret."""

    pid: int
    host: str
    port: int
    secret_file: str

    def words(self) -> list[str]:
        """For the command line of `client/engine.py`."""
        return [self.host, str(self.port), self.secret_file]


def environment() -> dict[str, str]:
    """The environment of all processes: traffic stays on the loopback interface, no settings of the user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GDISPY_")}
    return {**kept, "GDISPY_IP_ADDR": "127.0.0.1"}


@contextlib.contextmanager
def started(
    command: list[str], variables: dict[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which is gone, with all below it, when the block is left."""
    env = {**environment(), **(variables or {})}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process by its id, and then, by theirs, those below it that it left behind."""
    below = tree(process.pid)
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_LIMIT)
    if process.poll() is None:
        print(f"process {process.pid} did not end when told to, and was killed", file=sys.stderr)
        process.kill()
        process.wait()
    until = time.monotonic() + END_LIMIT  # Those below may end by themselves, and tidy up before.
    left = [each for each in below if each.pid != process.pid]
    while (left := [each for each in left if _is_alive(each)]) and time.monotonic() < until:
        time.sleep(0.02)
    for each in left:
        print(f"process {each.pid} was left behind by {process.pid}, and was killed", file=sys.stderr)
        with contextlib.suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)


def read_line(stream: IO[bytes], limit: float) -> str:
    """One line of a process that prints little. Raises MeasureError where it does not come in time."""
    until, text = time.monotonic() + limit, b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise MeasureError(f"a process said nothing for {limit:.0f} s")
        byte = os.read(stream.fileno(), 1)
        if not byte:
            raise MeasureError("a process ended without a word")
        text += byte
    return text.decode().strip()


@contextlib.contextmanager
def new_secret() -> Iterator[str]:
    """A file with a new secret."""
    with tempfile.TemporaryDirectory() as folder:
        secret_file = os.path.join(folder, "secret")
        with open(os.open(secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(generate_secret() + "\n")
        yield secret_file


@contextlib.contextmanager
def running_node() -> Iterator[NodePlace]:
    """A node with two CPUs and a secret that was made for it."""
    with new_secret() as secret_file, node_with(secret_file) as node:
        yield node


@contextlib.contextmanager
def node_with(secret_file: str, *options: str) -> Iterator[NodePlace]:
    """A node with two CPUs and this secret, in a new directory: results that former nodes have kept would slow it."""
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory(prefix="gdispy-bench-") as prefix:
        program = str(Path(sys.executable).with_name("gdispy-node"))
        command = [program, "--daemon", "--cpus", str(CPUS), "-i", "127.0.0.1", "-p", "0", *options]
        command += [] if "--dest_path_prefix" in options else ["--dest_path_prefix", prefix]
        with started([*command, "--secret-file", secret_file], stderr=errors) as process:
            assert process.stdout is not None
            try:
                host, _, port = read_line(process.stdout, START_LIMIT).removeprefix("ready ").rpartition(":")
            except MeasureError as error:
                raise MeasureError(f"the node did not start: {error}; {_tail(errors)}") from None
            yield NodePlace(process.pid, host, int(port), secret_file)


@contextlib.contextmanager
def running_scheduler(node: NodePlace, keeps_journal: bool = True) -> Iterator[NodePlace]:
    """A shared scheduler that has this node, with the same secret towards both sides, and with or without a journal."""
    program = str(Path(sys.executable).with_name("gdispy-scheduler"))
    command = [program, "--daemon", "-i", "127.0.0.1", "-p", "0", "-n", f"{node.host}:{node.port}"]
    command += ["--secret-file", node.secret_file]
    with (
        tempfile.TemporaryDirectory() as journal,
        tempfile.TemporaryFile() as errors,
        started([*command, *_journal(journal if keeps_journal else "")], stderr=errors) as process,
    ):
        assert process.stdout is not None
        host, _, port = read_line(process.stdout, START_LIMIT).removeprefix("ready ").rpartition(":")
        yield NodePlace(process.pid, host, int(port), node.secret_file)


def _journal(directory: str) -> list[str]:
    return ["--journal", directory] if directory else ["--no_journal"]


@contextlib.contextmanager
def crowding_client(count: int, limit: float, scheduler: NodePlace) -> Iterator[None]:
    """A client that has so many jobs queued at a scheduler."""
    command = [sys.executable, str(HERE / "client.py"), "0", "shared", str(count), str(limit), *scheduler.words()]
    with started(command, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        if read_line(process.stdout, limit) != "crowded":
            raise MeasureError("the client with many jobs could not queue them")
        yield
        process.stdin.close()
        if read_line(process.stdout, limit) == "0":
            raise MeasureError("the client with many jobs had none left when the others had ended")


def run_client(
    row: int,
    side: str,
    count: int,
    limit: float,
    node: NodePlace | None,
    variables: dict[str, str] | None = None,
) -> dict[str, float]:
    """What `client/engine.py` measured. Raises MeasureError."""
    words = [str(row), side, str(count), str(limit), *(node.words() if node else [])]
    command = [sys.executable, str(HERE / "client.py"), *words]
    with tempfile.TemporaryFile() as errors, started(command, variables, stderr=errors) as process:
        assert process.stdout is not None
        try:
            text = read_line(process.stdout, limit + GRACE)
        except MeasureError as error:
            raise MeasureError(f"{side}: {error}; {_tail(errors)}") from None
        figures: dict[str, Any] = json.loads(text)
        if "error" in figures:
            raise MeasureError(f"{side}: {figures['error']}; {_tail(errors)}")
        return figures


@contextlib.contextmanager
def idle_client(count: int, limit: float, node: NodePlace) -> Iterator[int]:
    """The id of a connected client that has run some jobs and has nothing to do now."""
    command = [sys.executable, str(HERE / "client.py"), "8", "gdispy", str(count), str(limit), *node.words()]
    with started(command, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        line = read_line(process.stdout, limit)
        if line != "idle":
            raise MeasureError(f"gdispy: {line}")
        yield process.pid
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_LIMIT)


def seconds_to_abandoned(limit: float, node: NodePlace, pulse: float) -> float:
    """Seconds from `kill -9` of a node until a program is told of the end of its job there. Raises MeasureError."""
    words = ["14", "gdispy", "1", str(limit), *node.words(), str(pulse)]
    with started([sys.executable, str(HERE / "client.py"), *words]) as process:
        assert process.stdout is not None
        if (line := read_line(process.stdout, limit)) != "running":
            raise MeasureError(f"no job runs: {line}")
        began = time.perf_counter()
        os.kill(node.pid, signal.SIGKILL)
        line = read_line(process.stdout, limit)
        took = time.perf_counter() - began
    if line != "abandoned":
        raise MeasureError(f"the job of a killed node is {line}")
    return took


def seconds_to_first_line(script: str, wanted: str, limit: float) -> float:
    """Seconds from the start of a script to its first line. Raises MeasureError."""
    began = time.perf_counter()
    with started([sys.executable, str(HERE / script)]) as process:
        assert process.stdout is not None
        line = read_line(process.stdout, limit)
        took = time.perf_counter() - began
        if line != wanted:
            raise MeasureError(f"{script} printed {line!r}, but has to print {wanted!r}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_LIMIT)
        return took


class Ident(NamedTuple):
    """A process: its id, and when it began, since ids are used again."""

    pid: int
    began: int


def tree(root: int) -> list[Ident]:
    """A process and all below it."""
    children: dict[int, list[Ident]] = {}
    for folder in Path("/proc").iterdir():
        fields = _stat(int(folder.name)) if folder.name.isdecimal() else None
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(Ident(int(folder.name), int(fields[19])))
    top = _stat(root)
    found = [] if top is None else [Ident(root, int(top[19]))]
    for each in found:  # It grows while it is read.
        found += children.get(each.pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """CPU time that a process and all below it have used, in nanoseconds' steps where the kernel counts them."""
    return sum(_own_cpu_seconds(each.pid) for each in tree(root))


def _own_cpu_seconds(pid: int) -> float:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, IndexError):  # Gone, or a kernel that counts ticks only.
        fields = _stat(pid)
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") if fields is not None else 0.0


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (which is the third in its manual)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _is_alive(ident: Ident) -> bool:
    fields = _stat(ident.pid)
    return fields is not None and int(fields[19]) == ident.began and fields[0] != "Z"


def _tail(errors: IO[bytes]) -> str:
    """The last of what a process wrote to its standard error."""
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return "it said: " + " | ".join(lines[-5:]) if lines else "it said nothing"
