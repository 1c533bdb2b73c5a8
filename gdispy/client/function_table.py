"""The functions of one executor: their numbers, and their files on nodes.

`number_of` runs in the user's threads, `answer` in the hub.

A function of a module, or any other function that is used a second time, gets a number and is sent to a node once, when
the node asks for it; again, under another number, when a global variable that it uses has got another value. Any other
callable is sent with each call: it may have changed since the last one.

Invariant: a number never changes its meaning, and its function is kept as long as the executor.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
import types
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

from gdispy import config
from gdispy.buffers.memory_file import DIGEST_BYTES, FileInMemory
from gdispy.client.function_packing import joined, pack
from gdispy.client.packaging import read_files
from gdispy.client.questions import Reported
from gdispy.errors import ConfigError
from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.limits import file_date, printable_for_log
from gdispy.protocol.messages import Message, Progress, PutFile, Reply
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import FileRow
from gdispy.worker.function_calls import GIVEN, FunctionCalls, file_name, pack_function, read_request
from gdispy.worker.manner import Manner
from gdispy.worker.own_modules import own_names

logger = logging.getLogger("gdispy")

#: Functions that were defined in another function and used once; a program may make one for each call.
RECENT_LIMIT = 64
#: Numbered functions; further ones are sent with each call.
FUNCTIONS_LIMIT = 10_000
#: Global variables of a function that are looked at before each call; and how often a function is sent again because
#: one has changed. After that it is sent with each call.
USES_LIMIT = 64
CHANGES_LIMIT = 100
#: Seconds in which a node does not need the same function twice.
SENT_INTERVAL = 2.0

#: Sends a message, made for the number of a question, and calls a function with the answer.
Ask = Callable[[Callable[[int], Message], Callable[[Reported], None]], None]

_NAMED = (types.FunctionType, types.BuiltinFunctionType, type)


class _Numbered:
    """A function that nodes have under a number."""

    __slots__ = ("changes", "number", "uses")

    def __init__(self, number: int, uses: list[tuple[dict[str, Any], str, Any]], changes: int) -> None:
        self.number = number
        #: The global variables that it uses: the dictionary, the name, and the value that was sent.
        self.uses = uses
        #: How often it was sent again.
        self.changes = changes

    def has_changed(self) -> bool:
        """Whether one of these variables has another value now."""
        for names, name, value in self.uses:  # noqa: SIM110 (it is called for each call, and `any` is slower)
            if names.get(name) is not value:
                return True
        return False


class FunctionTable:
    """The functions of one executor."""

    def __init__(self) -> None:
        #: Distinguishes its files from those of other executors.
        self.key = secrets.token_hex(4)
        #: How definitions of the program are sent; known when the computation is packed.
        self.manner = Manner()
        self._lock = threading.Lock()
        self._numbers: dict[Callable[..., Any], _Numbered] = {}
        self._recent: dict[Callable[..., Any], None] = {}
        #: The numbers of other files, by the digests of their contents.
        self._data: dict[bytes, int] = {}
        self._sizes: dict[int, int] = {}
        #: The files of each number, as in `PutFile`; None if their contents are not known any more.
        self._files: list[tuple[list[Sequence[object]], list[Bulk]] | None] = []
        #: When a function was sent to a node.
        self._sent: dict[tuple[Instance, int], float] = {}

    def number_of(self, function: Callable[..., Any]) -> int:
        """The number of a function, or GIVEN if it must be an argument of the call. Raises ConfigError if the function
        cannot be sent to nodes."""
        if type(function) not in _NAMED:
            return GIVEN
        known = self._numbers.get(function)
        return self._number_new(function) if known is None or known.has_changed() else known.number

    def _number_new(self, function: Callable[..., Any]) -> int:
        with self._lock:
            known = self._numbers.get(function)
            if known is not None and not known.has_changed():
                return known.number
            changes = 0 if known is None else known.changes + 1
            if len(self._files) >= FUNCTIONS_LIMIT or changes > CHANGES_LIMIT or _is_of_value(function):
                return GIVEN
            if self._is_first_of_many(function):
                return GIVEN
            uses = _uses(function)
            self._files.append(self._packed(function, len(self._files)))
            self._numbers[function] = _Numbered(len(self._files) - 1, uses, changes)
            return len(self._files) - 1

    def function_of(self, number: int) -> Callable[..., Any] | None:
        """The function with a number, as it is here."""
        with self._lock:
            return next((each for each, known in self._numbers.items() if known.number == number), None)

    def number_of_data(self, parts: list[Any]) -> int:
        """The number of a file with these contents, which must not change until `release_data`. It is sent to nodes as
        functions are."""
        digest = blake2b(digest_size=DIGEST_BYTES)
        for part in parts:
            digest.update(part)
        key, size = digest.digest(), sum(len(part) for part in parts)
        with self._lock:
            number = self._data.get(key)
            if number is None:
                number = self._data[key] = len(self._files)
                self._files.append(None)
            else:
                self._data[key] = self._data.pop(key)  # It was used last.
            row = FileRow(file_name(self.key, number), 0o600, file_date(time.time()), size, key)
            self._files[number] = [list(row)], [FileInMemory(*parts)]
            self._sizes[number] = size
            return number

    def number_without_file(self) -> int:
        """A number whose contents the workers have otherwise."""
        with self._lock:
            self._files.append(None)
            return len(self._files) - 1

    def release_data(self, keep: int) -> list[int]:
        """The contents of files may change now: they are forgotten. Nodes keep the `keep` bytes that were used last;
        returns the numbers of the other files, for `drop`."""
        dropped: list[int] = []
        with self._lock:
            for key, number in reversed(list(self._data.items())):
                self._files[number] = None
                keep -= self._sizes[number]
                if keep < 0:
                    del self._data[key]
                    dropped.append(number)
        return dropped

    def forget_data(self, number: int) -> None:
        """The same for one file, which nodes do not keep."""
        with self._lock:
            self._files[number] = None
            self._data = {key: each for key, each in self._data.items() if each != number}

    def drop(self, computation: ComputationId, ask: Ask, numbers: list[int]) -> None:
        """Have nodes remove the contents of these files. In the hub."""
        for node, number in [key for key in self._sent if key[1] in numbers]:
            del self._sent[node, number]
            files, contents = read_files({file_name(self.key, number): b""})
            ask(partial(_put_file, computation, node, files, contents), lambda reply: None)

    def _is_first_of_many(self, function: Callable[..., Any]) -> bool:
        """Whether it was defined in another function and is used for the first time: perhaps one of very many."""
        if "<" not in getattr(function, "__qualname__", "") or function in self._recent:
            return False
        self._recent[function] = None
        if len(self._recent) > RECENT_LIMIT:
            del self._recent[next(iter(self._recent))]
        return True

    def _packed(self, function: Callable[..., Any], number: int) -> tuple[list[Sequence[object]], list[Bulk]]:
        name = str(getattr(function, "__name__", "function"))
        packed = pack(name, (function, {}, None, None), self.manner)
        data = pack_function(config.PYTHON, joined(packed.body), packed.source)
        # The function is the last file: when it is there, so are the modules that it imports.
        return read_files({**packed.files, file_name(self.key, number): data})

    def answer(
        self,
        computation: ComputationId,
        ask: Ask,
        progress: Progress,
    ) -> bool:
        """Send the function that a job asks for to its node; whether the provisional result was such a request. `ask`
        sends a message, made for the number of a question, and calls a function with the answer."""
        number = read_request(progress.value)
        if number is None:
            return False
        found = self._files[number] if 0 <= number < len(self._files) else None
        if found is None:
            logger.error("a job asks for the function %d, which is not there", number)
            return True
        node = Instance(progress.node)
        key, now = (node, number), time.monotonic()
        if self._sent.get(key, -SENT_INTERVAL) + SENT_INTERVAL > now:
            return True
        self._sent[key] = now
        files, contents = found

        def note(reply: Reported) -> None:
            if isinstance(reply, Reply) and reply.error:
                self._sent.pop(key, None)
                logger.warning("a function was not sent to a node: %s", printable_for_log(reply.error))

        ask(partial(_put_file, computation, node, files, contents), note)
        return True


class CallsHere(FunctionCalls):
    """Calls functions by their numbers in this process."""

    def __init__(
        self, functions: FunctionTable, initializer: Callable[..., Any] | None = None, initargs: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(functions.key, initializer, initargs)
        self._table = functions

    def _load(self, number: int) -> Callable[..., Any]:
        found = self._table.function_of(number)
        if found is None:
            raise ConfigError("the function is not known here any more: one of its global variables has changed since")
        return found


def _uses(function: Callable[..., Any]) -> list[tuple[dict[str, Any], str, Any]]:
    """The global variables that a function of the program uses, and those that functions among their values use."""
    found: list[tuple[dict[str, Any], str, Any]] = []
    waiting, seen = [function], {id(function)}
    while waiting and len(found) < USES_LIMIT:
        each = waiting.pop()
        if not isinstance(each, types.FunctionType) or not _is_own(each.__module__):
            continue
        for name in _names(each.__code__):
            if name not in each.__globals__:
                continue
            value = each.__globals__[name]
            found.append((each.__globals__, name, value))
            if id(value) not in seen:
                seen.add(id(value))
                waiting.append(value)
    return found


def _is_of_value(function: Callable[..., Any]) -> bool:
    """Whether it is a method of a value, such as `[].count`, which may change."""
    owner = getattr(function, "__self__", None)
    return type(function) is types.BuiltinFunctionType and not isinstance(owner, types.ModuleType | None)


def _is_own(module: str | None) -> bool:
    """Whether functions of this module are sent by value."""
    return module in (None, "__main__", "__mp_main__") or str(module).encode("utf-8", "replace") in own_names()


def _names(code: types.CodeType) -> set[str]:
    """The names of global variables, and of attributes, in a code object and those inside of it."""
    inner = [_names(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    return set(code.co_names).union(*inner)


def _put_file(
    computation: ComputationId, node: Instance, files: list[Sequence[object]], contents: list[Bulk], question: int
) -> PutFile:
    return PutFile(computation, question, node, files, contents)
