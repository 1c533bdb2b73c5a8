"""A node, for schedulers: `python -m tests.independent.node SECRET_FILE [PORT]`.

It listens on 127.0.0.1, says `ready HOST:PORT`, and runs jobs: programs, and functions that dill can unpickle (section
6.1 of docs/protocol.md). One thread, one connection and one job at a time. It keeps outcomes until they are collected
(section 8). What functions print is not kept.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import dill

from tests.independent import payloads
from tests.independent.frames import FILE
from tests.independent.keys import Identity, Refused, Responder, tcp_key
from tests.independent.link import Closed, Link

CANCELLED, TERMINATED, FINISHED = 8, 9, 11


@dataclass
class Computation:
    """What `Prepare` has brought."""

    prepare: dict[str, Any]
    directory: Path
    #: Indices of files that are not there.
    lacking: list[int] = field(default_factory=list)
    is_loaded: bool = False
    function: Any = None
    #: Outcomes that nobody has collected, by job: the columns of `Ended` for it.
    ended: dict[int, dict[str, Any]] = field(default_factory=dict)
    early_cancels: set[tuple[int, int]] = field(default_factory=set)


class Node:
    """All that a node holds, whatever its connection."""

    def __init__(self, psk: bytes, directory: Path) -> None:
        self._identity = Identity()
        self._responder = Responder(psk, ["scheduler>node"], self._identity.instance)
        self._directory = directory
        self._computations: dict[bytes, Computation] = {}
        #: Whose they are.
        self._scheduler = b""

    def serve(self, sock: socket.socket) -> None:
        """One connection, from its handshake to its end."""
        with Link.accept(sock, self._responder, self._identity) as link:
            name, hello = link.receive("Hello")
            if hello["instance"] != self._scheduler:
                self._computations.clear()
            self._scheduler = hello["instance"]
            link.interval = hello["pulse"] or link.interval
            link.introduce("node", cpus=1)
            ended = [each.ended for each in self._computations.values()]
            attempts = [[row["attempts"] for row in rows.values()] for rows in ended]
            jobs = [list(rows) for rows in ended]
            link.send("Inventory", computations=list(self._computations), jobs=jobs, attempts=attempts)
            for computation in list(self._computations):
                self._report(link, computation)
            while True:
                name, fields = link.receive(within=3600)
                handler = getattr(self, f"_on_{name.lower()}", None)
                if handler is None:
                    link.refuse(f"a node takes no {name} from a scheduler")
                    return
                handler(link, fields["computation"], fields)

    # What a scheduler says

    def _on_prepare(self, link: Link, number: bytes, fields: dict[str, Any]) -> None:
        computation = self._computations.get(number)
        if computation is None:
            directory = self._directory / number.hex()
            directory.mkdir(mode=0o700)
            computation = self._computations[number] = Computation(fields, directory, list(range(len(fields["files"]))))
        if computation.lacking:
            link.send("MissingFiles", computation=number, places=computation.lacking)
        else:
            self._load(link, number, computation)

    def _on_filecontents(self, link: Link, number: bytes, fields: dict[str, Any]) -> None:
        computation = self._computations[number]
        for place, content in zip(fields["places"], fields["contents"], strict=True):
            path, mode, modified, size, digest = computation.prepare["files"][place]
            goal = computation.directory / path
            same = len(content) == size and blake2b(content, digest_size=32).digest() == digest
            if not same or getattr(content, "purpose", 0) != FILE or ".." in Path(path).parts:
                link.send("Prepared", computation=number, error=f"the file {path!r} changed while it was sent")
                return
            goal.parent.mkdir(parents=True, exist_ok=True)
            goal.write_bytes(content)
            goal.chmod(mode & 0o700)
            os.utime(goal, (modified, modified))
            computation.lacking.remove(place)
        if not computation.lacking:
            self._load(link, number, computation)

    def _load(self, link: Link, number: bytes, computation: Computation) -> None:
        error = ""
        try:
            if computation.prepare["results"]:
                raise ValueError(f"results={computation.prepare['results']!r} is not known to this node")
            if computation.prepare["kind"] == "function" and not computation.is_loaded:
                computation.function = payloads.load(computation.prepare["body"], dill.loads)[0]
            computation.is_loaded = True
        except Exception as failure:
            error = f"it cannot be loaded: {failure!r}"
        link.send("Prepared", computation=number, error=error)

    def _on_run(self, link: Link, number: bytes, fields: dict[str, Any]) -> None:
        computation = self._computations.get(number)
        if computation is None or not computation.is_loaded:
            link.send("Prepared", computation=number, error="it is not loaded", for_now=True)
            link.send("Returned", computation=number, jobs=fields["jobs"], attempts=fields["attempts"])
            return
        for job, attempt, arguments in zip(fields["jobs"], fields["attempts"], fields["arguments"], strict=True):
            known = computation.ended.get(job)
            if known is None or known["attempts"] < attempt:
                computation.ended[job] = self._outcome(computation, job, attempt, arguments)
        self._report(link, number)

    def _on_cancel(self, link: Link, number: bytes, fields: dict[str, Any]) -> None:
        computation = self._computations.get(number)
        if computation is not None:
            computation.early_cancels.update(zip(fields["jobs"], fields["attempts"], strict=True))

    def _on_recall(self, link: Link, number: bytes, fields: dict[str, Any]) -> None:
        link.send("Returned", computation=number, jobs=[], attempts=[])

    def _on_limit(self, link: Link, number: bytes, fields: dict[str, Any]) -> None:
        """One job at a time is within any limit but 0, which a test does not set."""

    def _on_progressacked(self, link: Link, number: bytes, fields: dict[str, Any]) -> None:
        """It sends no provisional results."""

    def _on_outcomesacked(self, link: Link, number: bytes, fields: dict[str, Any]) -> None:
        computation = self._computations.get(number)
        for job, attempt in zip(fields["jobs"], fields["attempts"], strict=True):
            if computation is not None and computation.ended.get(job, {}).get("attempts") == attempt:
                del computation.ended[job]

    def _on_release(self, link: Link, number: bytes, fields: dict[str, Any]) -> None:
        self._computations.pop(number, None)
        link.send("Released", computation=number)

    # Jobs

    def _outcome(self, computation: Computation, job: int, attempt: int, arguments: bytes) -> dict[str, Any]:
        began = time.time()
        if (job, attempt) in computation.early_cancels:
            status, result, output, error, text = CANCELLED, b"", b"", b"", ""
        elif computation.prepare["kind"] == "program":
            status, result, output, error, text = _run_program(computation, job, attempt, arguments)
        else:
            status, result, output, error, text = _call(computation.function, arguments)
        row = {"jobs": job, "attempts": attempt, "statuses": status, "results": result, "outputs": output}
        row |= {"errors": error, "exceptions": text, "starts": began, "ends": time.time(), "progress": 0}
        return row | {"truncated": False}

    def _report(self, link: Link, number: bytes) -> None:
        """Say what came of all jobs that nobody has collected."""
        rows = list(self._computations[number].ended.values())
        if rows:
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            link.send("Ended", computation=number, **columns, address="")


_Outcome = tuple[int, bytes, bytes, bytes, str]


def _call(function: Any, arguments: bytes) -> _Outcome:
    try:
        if arguments[0] == payloads.CHUNK_OF_CALLS:
            return FINISHED, _call_several(function, arguments), b"", b"", ""
        args, kwargs = payloads.load(arguments, dill.loads)
        value = function(*args, **kwargs)
        return FINISHED, b"" if value is None else payloads.dump(value), b"", b"", ""
    except Exception as error:
        raised = bytes([payloads.RAISED]) + payloads.dump(error)
        return TERMINATED, raised, b"", b"", traceback.format_exc()


def _call_several(function: Any, arguments: bytes) -> bytes:
    _, calls = payloads.msgpack.unpackb(arguments[1:])
    outcomes = [_call(function, each) for each in calls]
    failures = [[place, outcome[4]] for place, outcome in enumerate(outcomes) if outcome[0] != FINISHED]
    packed: bytes = payloads.msgpack.packb([[outcome[1] for outcome in outcomes], failures])
    return bytes([payloads.CHUNK_OF_CALLS]) + packed


def _run_program(computation: Computation, job: int, attempt: int, arguments: bytes) -> _Outcome:
    path = str(computation.directory / computation.prepare["name"])
    command = [sys.executable, path] if path.endswith(".py") else [path]
    environment = {**os.environ, "GDISPY_JOB": str(job), "GDISPY_ATTEMPT": str(attempt)}
    try:
        words = payloads.load(arguments)
        done = subprocess.run(
            [*command, *words],
            cwd=computation.directory,
            env=environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        return TERMINATED, b"", b"", b"", f"{computation.prepare['name']} cannot be started: {error}\n"
    status, text = (FINISHED, "") if done.returncode >= 0 else (TERMINATED, "The program was killed by a signal.\n")
    return status, payloads.dump(done.returncode), done.stdout, done.stderr, text


def main(secret_file: str, port: str = "0") -> None:
    """Serve until somebody ends this process."""
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.create_server(("127.0.0.1", int(port))) as server,
        open(secret_file) as file,
    ):
        node = Node(tcp_key(file.read()), Path(directory))
        print(f"ready 127.0.0.1:{server.getsockname()[1]}", flush=True)
        while True:
            sock, _ = server.accept()
            with contextlib.suppress(Closed, Refused, OSError):
                node.serve(sock)
            sock.close()
            # Which modules of others it has loaded meanwhile: the test wants to know.
            loaded = sorted(name for name in sys.modules if name.partition(".")[0] == "gdispy")
            print(f"closed {','.join(loaded)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
