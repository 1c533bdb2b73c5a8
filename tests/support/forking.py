"""Processes that fork a child for each example: a fresh one in a few milliseconds.

Frames of pickle go through two pipes; only the child reads and writes them while there is one.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

#: Seconds for one example; a child that takes longer is ended by the kernel.
PATIENCE = 60
#: Ends a child.
OVER = ("over",)


def read(fd: int) -> Any:
    """A frame; EOFError where there is none any more."""
    (size,) = struct.unpack(">I", _exactly(fd, 4))
    return pickle.loads(_exactly(fd, size))


def write(fd: int, value: object) -> None:
    data = pickle.dumps(value)
    data = struct.pack(">I", len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


def _exactly(fd: int, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = os.read(fd, size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts


class Server:
    """Such a process, as its parent has it: a module that calls `serve`."""

    def __init__(self, module: str, seed: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.into, self.out = self.process.stdin.fileno(), self.process.stdout.fileno()

    @contextlib.contextmanager
    def child(self, where: str) -> Iterator[Callable[..., Any]]:
        """A new child; what it gives asks it."""
        is_over = False

        def ask(*question: Any) -> Any:
            nonlocal is_over
            write(self.into, question)
            kind, answer = read(self.out)
            is_over = kind == "over"
            assert kind == "answer", answer
            return answer

        try:
            ask(where)
            yield ask
        finally:
            if not is_over:
                write(self.into, OVER)
            while not is_over:
                is_over = read(self.out)[0] == "over"

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


# In the process


def serve(kinds: dict[str, Callable[[], Any]]) -> None:
    """Fork a child of the kind that is asked for, one after the other. A kind is a generator function: of what is
    sent into it, each is a question, and what it yields then, the answer."""
    # Whatever a child prints, is no frame.
    into, out = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    while True:
        try:
            question = read(into)
        except EOFError:
            return
        if question == OVER:  # Of a child that has died before it could read that.
            continue
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE)
            try:
                write(out, ("answer", None))
                _answer_all(kinds[question[0]](), into, out)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        write(out, ("over", f"the process ended with status {status}"))


def _answer_all(answers: Any, into: int, out: int) -> None:
    next(answers)
    while (question := read(into)) != OVER:
        try:
            write(out, ("answer", answers.send(question)))
        except BaseException as error:
            write(out, ("failure", "".join(traceback.format_exception(error, limit=-3))))
