"""The computation of an executor: each job calls one of many functions, which has a number.

Runs in a worker. A function is a file in the directory of the computation, which the client sends once to each node
that asks for it. A worker that does not find the file asks for it with a provisional result that begins with `REQUEST`,
and waits for the file.

The file is `[version of Python, body, source text or b'']` in msgpack; the body and the source text are those of a
computation, as in `Prepare`.
"""

from __future__ import annotations

import builtins
import os
import struct
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from gdispy.worker import pickling
from gdispy.worker.module_state import StateFinder
from gdispy.worker.originals import msgpack

#: The number of a function that is the first argument of the call.
GIVEN = -1
#: Begins a provisional result that asks for a function; its number follows. No pickle begins with this byte.
REQUEST = b"\x03"
_NUMBER = struct.Struct("<I")

#: The folder of the files, in the directory of the computation.
FOLDER = "_gdispy_functions"
#: Seconds between two looks for a file: at first, and at most; and between two requests.
LOOK_FIRST = 0.001
LOOK_LIMIT = 0.05
ASK_AGAIN = 5.0


def file_name(key: str, number: int) -> str:
    """The path of a function's file in the directory of the computation."""
    return f"{FOLDER}/{key}-{number}"


def pack_function(version: str, body: bytes, source: bytes) -> bytes:
    return msgpack.packb([version, body, source])  # type: ignore[no-any-return]


def pack_request(number: int) -> bytes:
    return REQUEST + _NUMBER.pack(number)


def read_request(value: object) -> int | None:
    """The number of the function that a provisional result asks for; None for any other provisional result."""
    if type(value) is bytes and value[:1] == REQUEST and len(value) == 1 + _NUMBER.size:
        return int(_NUMBER.unpack_from(value, 1)[0])
    return None


class InitializerFailed(Exception):
    """The initializer has failed in this worker; the message is its traceback."""


class FunctionCalls:
    """Calls functions by their numbers. An instance is the function of the executor's computation."""

    def __init__(self, key: str, initializer: Callable[..., Any] | None = None, initargs: tuple[Any, ...] = ()) -> None:
        #: Distinguishes the files from those of other executors in a directory that is kept.
        self._key = key
        self._initializer, self._initargs = initializer, initargs
        self._functions: dict[int, Callable[..., Any]] = {}
        self._directory = ""
        #: The traceback of the initializer, if it has failed.
        self._failure = ""
        self.__name__ = "executor"

    def __call__(self, number: int, /, *args: Any, **kwargs: Any) -> Any:
        function = self._functions.get(number)
        if function is None:
            function = self._find(number)
        return function(*args, **kwargs)

    def begin_worker(self) -> None:
        """Called in each worker before its first job: what the initializer changes stays."""
        self._directory = str(getattr(builtins, "dispy_job_path", os.getcwd()))
        if self._initializer is None:
            return
        try:
            self._initializer(*self._initargs)
        except BaseException:
            self._failure = traceback.format_exc()

    def _find(self, number: int) -> Callable[..., Any]:
        if self._failure:
            raise InitializerFailed(self._failure)
        function = _call_given if number == GIVEN else self._load(self._await_file(number))
        self._functions[number] = function
        return function

    def _await_file(self, number: int) -> bytes:
        from gdispy.worker.runner import running  # The client, which names this class, does not need it.

        path = os.path.join(self._directory, file_name(self._key, number))
        pause, next_request = LOOK_FIRST, 0.0
        while True:
            try:
                with open(path, "rb") as file:
                    return file.read()
            except FileNotFoundError:
                pass
            now = time.monotonic()
            if now >= next_request and running.job is not None:
                running.job.send_progress(pack_request(number))
                next_request = now + ASK_AGAIN
            time.sleep(pause)
            pause = min(1.5 * pause, LOOK_LIMIT)

    def _load(self, data: bytes) -> Callable[..., Any]:
        version, body, source = msgpack.unpackb(data)
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        # Like arguments, and not like a computation: global variables that the initializer has set stay.
        function, _, _, _, *states = pickling.loads(bytearray(source if source and version != own else body))
        for each in states:
            StateFinder(each, pickling.loads).install()
        return function  # type: ignore[no-any-return]


def _call_given(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)
