"""A process that forks one for each web of `webs.py`: at home, or away where nothing of it is (see
tests/integration/test_travelling_webs.py). Frames of pickle on standard input and output, read by the child alone.
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
import types
from collections.abc import Callable, Iterator
from typing import Any

from gdispy.worker import pickling

#: Seconds for one web; a child that takes longer is ended by the kernel.
PATIENCE = 30
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
    """The process, as its parent has it."""

    def __init__(self, seed: int) -> None:
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", env=environment
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


def joined(value: object) -> bytes:
    payload = pickling.dumps(value)
    return payload if isinstance(payload, bytes) else b"".join(payload)


def answer_all(answers: Any) -> None:
    """Answer each question by the next step of a generator."""
    next(answers)
    while (question := read(0)) != OVER:
        try:
            write(1, ("answer", answers.send(question)))
        except BaseException as error:
            write(1, ("failure", "".join(traceback.format_exception(error))))


def at_home() -> Any:
    """Execute the program; then its payloads; then what it computes, and which things have come back as others."""
    (folder,) = yield
    sys.path.insert(0, folder)
    with open(f"{folder}/main.py") as file:
        text = file.read()
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__file__ = f"{folder}/main.py"
    exec(compile(text, main.__file__, "exec"), vars(main))
    space = vars(main)
    payload, again = joined((space["probe"], space["things"])), joined((space["probe"], space["things"]))
    (back,) = yield payload, joined(space["things"]), payload == again
    told = repr(space["probe"](space["things"]))
    returned = pickling.loads(bytearray(back))
    yield told, [name for name, thing in space["things"].items() if returned[name] is not thing]


def away() -> Any:
    """Load the payloads; what they compute; which things have come as two; and all, to send back."""
    first, second = yield
    sys.modules["__main__"] = types.ModuleType("__main__")
    probe, things = pickling.loads(bytearray(first))
    # Before the second payload, which gives all that is in it the state in which it was sent.
    told = repr(probe(things))
    others = pickling.loads(bytearray(second))
    twice = [name for name, thing in things.items() if others[name] is not thing]
    yield told, twice, joined(things)


def serve() -> None:
    while True:
        try:
            question = read(0)
        except EOFError:
            return
        if question == OVER:  # Of a child that has died before it could read that.
            continue
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE)
            try:
                write(1, ("answer", None))
                answer_all({"home": at_home, "away": away}[question[0]]())
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        write(1, ("over", f"the process ended with status {status}"))


if __name__ == "__main__":
    serve()
