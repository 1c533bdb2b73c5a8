"""The computation of an executor: each job calls one of many functions, which has a number.

Runs in a worker. A function is a file in the directory of the computation, which the client sends once to each node
that asks for it. A worker that does not find the file asks for it with a provisional result that begins with `REQUEST`,
and waits for the file.

The file is `[version of Python, body, source text or b'']` in msgpack; the body and the source text are those of a
computation, as in `Prepare`.
"""

from __future__ import annotations

import builtins
import itertools
import math
import os
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

from gdispy.worker import pickling
from gdispy.worker.failures import describe
from gdispy.worker.module_state import StateFinder
from gdispy.worker.originals import msgpack

#: The number of a function that is the first argument of the call.
GIVEN = -1
#: The number of a call that is a chunk of calls: its arguments are the number of the function, the function or None,
#: the argument of each call, or, as a further argument tells, the tuple of its arguments, and the seconds after which
#: no further call begins (0: no limit).
CHUNK = -2
#: Begins a provisional result that asks for a function; its number follows. No pickle begins with this byte.
REQUEST = b"\x03"
_NUMBER = struct.Struct("<I")

#: The folder of the files, in the directory of the computation.
FOLDER = "_gdispy_functions"
#: Seconds between two looks for a file: at first, and at most; and between two requests.
LOOK_FIRST = 0.001
LOOK_LIMIT = 0.005
ASK_AGAIN = 5.0
#: Calls of a chunk between two looks at the clock, at most, and seconds that they should take.
SOME_LIMIT = 1024
SOME_SECONDS = 0.001
#: Arrays that a worker keeps mapped between jobs.
ARRAYS_LIMIT = 8


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


def pack_results(results: list[Any], failure: tuple[bytes, str] | None) -> bytes:
    """The results of a chunk, and what its last call has raised: the exception as `pickling.dumps_failure` gives it,
    and its traceback. A result that cannot be pickled is a failure, too."""
    try:
        return _joined(pickling.dumps((results, failure)))
    except Exception:
        for place, result in enumerate(results):
            try:
                pickling.dumps(result)
            except Exception as error:
                return pack_results(results[:place], (pickling.dumps_failure(error), describe(error, False)))
        raise


def _extend(results: list[Any], calls: Iterator[Any], count: int, seconds: float) -> None:
    """Add the results of calls, and look at the clock after some of them. What was added before an exception stays."""
    now = perf_counter()
    until, some = now + seconds, 1
    while len(results) < count and now < until:
        results.extend(itertools.islice(calls, some))
        before, now = now, perf_counter()
        some = min(2 * some, SOME_LIMIT) if now - before < SOME_SECONDS else max(1, some // 2)


def unpack_results(packed: bytes) -> tuple[list[Any], tuple[bytes, str] | None]:
    # A copy, of which arrays are writable views.
    results, failure = pickling.loads(bytearray(packed) if packed[0] == 0 else packed)
    return results, failure


def _joined(payload: pickling.Payload) -> bytes:
    return payload if isinstance(payload, bytes) else b"".join(payload)


class NumberedFunction:
    """Stands for a function in the arguments of a call; in the worker it is that function."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> Any:
        return _numbered_function, (self._number,)


class SharedArray:
    """Stands for an array in the arguments of a call; in the worker it is that array, mapped from its file, and
    read-only. The file is in the format of numpy."""

    def __init__(self, number: int, path: str = "") -> None:
        """`path` is that of the file on this machine, if all workers are here; else it is sent under its number."""
        self.number, self._path = number, path

    def __reduce__(self) -> Any:
        return _shared_array, (self.number, self._path)


class OpenedArray:
    """Stands for an array of a file; in the worker, which is on the same machine, it is that file's array. The
    parameters are those of `numpy.memmap`."""

    def __init__(self, *place: Any) -> None:
        self._place = place

    def __reduce__(self) -> Any:
        return _opened_array, self._place


class InitializerFailed(Exception):
    """The initializer has failed in this worker; the message is its traceback."""


class FunctionCalls:
    """Calls functions by their numbers. An instance is the function of the executor's computation."""

    def __init__(self, key: str, initializer: Callable[..., Any] | None = None, initargs: tuple[Any, ...] = ()) -> None:
        #: Distinguishes the files from those of other executors in a directory that is kept.
        self._key = key
        self._initializer, self._initargs = initializer, initargs
        self._functions: dict[int, Callable[..., Any]] = {}
        self._arrays: dict[int, Any] = {}
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
        global _of_worker
        _of_worker = self
        self._directory = str(getattr(builtins, "dispy_job_path", os.getcwd()))
        self.initialize()

    def initialize(self) -> None:
        """Call the initializer; its failure is raised in each call."""
        if self._initializer is None:
            return
        try:
            self._initializer(*self._initargs)
        except BaseException:
            self._failure = traceback.format_exc()

    def find(self, number: int) -> Callable[..., Any]:
        """The function with a number."""
        return self._functions.get(number) or self._find(number)

    def array(self, number: int, path: str) -> Any:
        """The array with a number, or at a path."""
        found = self._arrays.get(number)
        if found is None:
            import numpy  # The client has it, so the node should.

            while len(self._arrays) >= ARRAYS_LIMIT:  # A file that is mapped occupies its space.
                del self._arrays[next(iter(self._arrays))]
            found = self._arrays[number] = numpy.load(
                path or self._await_file(number), mmap_mode="r", allow_pickle=False
            )
        return found

    def _find(self, number: int) -> Callable[..., Any]:
        if self._failure:
            raise InitializerFailed(self._failure)
        own: dict[int, Callable[..., Any]] = {GIVEN: _call_given, CHUNK: self._call_chunk}
        function = own[number] if number in own else self._load(number)
        self._functions[number] = function
        return function

    def _call_chunk(
        self, number: int, given: Callable[..., Any] | None, items: list[Any], are_rows: bool, seconds: float
    ) -> bytes:
        """The packed results of calls, until one fails or the time is over."""
        function = given or self.find(number)
        calls = itertools.starmap(function, items) if are_rows else map(function, items)
        results: list[Any] = []
        try:
            _extend(results, calls, len(items), seconds or math.inf)
        except BaseException as error:
            if is_cancelled():
                raise
            return pack_results(results, (pickling.dumps_failure(error), describe(error, False)))
        return pack_results(results, None)

    def _await_file(self, number: int) -> str:
        """The path of a file that the client sends, once it is there."""
        from gdispy.worker.runner import running  # The client, which names this class, does not need it.

        path = os.path.join(self._directory, file_name(self._key, number))
        pause, next_request = LOOK_FIRST, 0.0
        while True:
            if os.path.exists(path):
                return path
            now = time.monotonic()
            if now >= next_request and running.job is not None:
                running.job.send_progress(pack_request(number))
                next_request = now + ASK_AGAIN
            time.sleep(pause)
            pause = min(1.5 * pause, LOOK_LIMIT)

    def _load(self, number: int) -> Callable[..., Any]:
        with open(self._await_file(number), "rb") as file:
            data = file.read()
        version, body, source = msgpack.unpackb(data)
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        # Like arguments, and not like a computation: global variables that the initializer has set stay.
        function, _, _, _, *states = pickling.loads(bytearray(source if source and version != own else body))
        for each in states:
            StateFinder(each, pickling.loads).install()
        return function  # type: ignore[no-any-return]


#: The computation of this worker.
_of_worker: FunctionCalls | None = None


def is_cancelled() -> bool:
    from gdispy.worker.runner import running

    return running.job is not None and running.job.cancelled


def is_in_job() -> bool:
    """Whether this process is a worker of an executor."""
    return _of_worker is not None


def _numbered_function(number: int) -> Callable[..., Any]:
    assert _of_worker is not None
    return _of_worker.find(number)


def _opened_array(path: str, dtype: Any, mode: Any, offset: int, shape: tuple[int, ...], order: Any) -> Any:
    import numpy

    return numpy.memmap(path, dtype=dtype, mode=mode, offset=offset, shape=shape, order=order)


def _shared_array(number: int, path: str) -> Any:
    assert _of_worker is not None
    return _of_worker.array(number, path)


def _call_given(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)
