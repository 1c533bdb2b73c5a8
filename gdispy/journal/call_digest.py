"""Digests of calls that do not depend on the order of the sets in them. Pure; nothing is unpickled.

The order of a set depends on `PYTHONHASHSEED`, so a restarted program pickles the same call into other bytes.

Invariant: calls that differ in anything but the order of sets have different digests.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from gdispy.worker import pickling

#: The first opcodes of a non-empty set in a pickle (EMPTY_SET, MEMOIZE, MARK), and the last of a frozenset (FROZENSET,
#: MEMOIZE).
_SETS = b"\x8f\x94(", b"\x91\x94"
#: Maximum number of opcodes of a pickle for which a digest without the order of sets is calculated.
_LONGEST_PICKLE = 1_000_000
#: Immutable values that hold no others: it does not matter whether they are one object or two equal ones.
_ATOMS = frozenset(
    ("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "EMPTY_TUPLE")
) | frozenset(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"))
#: Opcodes that take this number of values from the stack and push one.
_MAKERS = {
    "EMPTY_LIST": 0,
    "EMPTY_DICT": 0,
    "EMPTY_SET": 0,
    "BYTEARRAY8": 0,
    "TUPLE1": 1,
    "TUPLE2": 2,
    "TUPLE3": 3,
    "STACK_GLOBAL": 2,
    "REDUCE": 2,
    "NEWOBJ": 2,
    "NEWOBJ_EX": 3,
}
#: Opcodes that change the value below these on the stack.
_CHANGERS = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}
_COUNTS = struct.Struct(">III")
_LENGTH = struct.Struct(">Q")


class _Node:
    """A value in a pickle: the bytes of its opcode, its parts, in any order for sets, and the changes to it."""

    __slots__ = ("changes", "is_atom", "items", "name", "parts", "raw")

    def __init__(self, name: str, raw: bytes, parts: list[_Node], is_atom: bool = False) -> None:
        self.name = name
        self.raw = raw
        self.parts = parts
        self.items: list[_Node] = []
        self.changes: list[tuple[bytes, list[_Node]]] = []
        self.is_atom = is_atom


class _NotKnown(Exception):
    """A pickle has a structure for which no digest is calculated."""


def content_digest(data: bytes) -> bytes | None:
    """A digest of a call that does not depend on the order of its sets; None if it holds none, or only empty ones, or
    has a structure that is not known. Nothing is unpickled, and the cost for a call without sets is low.

    The digest is of a complete description of the pickle: each value is described with its parts at its first
    occurrence, and by its number elsewhere. So different calls have different descriptions. Hashes of the items only
    determine the order in which the items of a set are described.
    """
    if _SETS[0] not in data and _SETS[1] not in data:
        return None
    try:
        root, has_sets = _read_pickle(data)
        if not has_sets:
            return None
        pieces: list[bytes] = []
        _describe(root, {}, {}, pieces)
        return blake2b(b"".join(pieces), digest_size=16).digest()
    except Exception:  # Such as RecursionError, and the errors of pickletools for data that is not a pickle.
        return None


def _read_pickle(data: bytes) -> tuple[_Node, bool]:
    """The value in a payload, and whether there are sets in it."""
    buffers: Iterator[bytes] = iter(())
    if not data[0]:
        view = memoryview(data)
        base, length, entries = pickling.read_head(view)
        # Copied only if they are needed.
        buffers = (bytes([kind]) + view[base + offset : base + offset + size] for kind, offset, size in entries)
        data = bytes(view[base : base + length])
    reader = _PickleReader(buffers)
    steps: Iterator[tuple[Any, Any, Any]] = pickletools.genops(data)
    opcode, argument, begin = next(steps)
    for _ in range(_LONGEST_PICKLE):
        if opcode.name == "STOP":
            if begin + 1 != len(data):
                break
            return reader.value(), reader.has_sets
        following, argument_after, end = next(steps)
        reader.take(opcode.name, argument, data[begin:end])
        opcode, argument, begin = following, argument_after, end
    raise _NotKnown


class _PickleReader:
    """Does the same as unpickling, with nodes as values."""

    def __init__(self, buffers: Iterator[bytes]) -> None:
        self._buffers = buffers
        self._stack: list[_Node] = []
        self._marks: list[int] = []
        self._memo: list[_Node] = []
        self.has_sets = False

    def value(self) -> _Node:
        if len(self._stack) != 1 or self._marks:
            raise _NotKnown
        return self._stack[0]

    def take(self, name: str, argument: Any, raw: bytes) -> None:
        """Process the next opcode, with its bytes."""
        stack = self._stack
        if name == "MEMOIZE":
            self._memo.append(stack[-1])
        elif name in _ATOMS:
            stack.append(_Node(name, raw, [], True))
        elif name == "BINGET" or name == "LONG_BINGET":
            stack.append(self._memo[argument])
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in _MAKERS:
            self.has_sets = self.has_sets or name == "EMPTY_SET"
            stack.append(_Node(name, raw, self._taken(_MAKERS[name])))
        elif name == "TUPLE":
            stack.append(_Node(name, raw, self._marked()))
        elif name in _CHANGERS:
            self._change(raw, self._taken(_CHANGERS[name]))
        elif name == "APPENDS" or name == "SETITEMS":
            self._change(raw, self._marked())
        else:
            self._take_rare(name, raw)

    def _take_rare(self, name: str, raw: bytes) -> None:
        stack = self._stack
        if name == "FROZENSET":
            self.has_sets = True
            node = _Node(name, raw, [])
            node.items = self._marked()
            stack.append(node)
        elif name == "ADDITEMS":
            items = self._marked()
            if stack[-1].name != "EMPTY_SET":
                raise _NotKnown
            stack[-1].items += items
        elif name == "NEXT_BUFFER":
            stack.append(_Node(name, raw + next(self._buffers), []))
        elif name == "READONLY_BUFFER":
            stack.append(_Node(name, raw, self._taken(1)))
        elif name == "POP":
            # A function is called that changes the object, `(object, state)`: the sixth item of `__reduce__`.
            (call,) = self._taken(1)
            if call.name != "REDUCE" or call.changes:
                raise _NotKnown
            function, arguments = call.parts
            if arguments.name != "TUPLE2" or arguments.changes or arguments.parts[0] is not stack[-1]:
                raise _NotKnown
            self._change(raw, [function, arguments.parts[1]])
        elif name != "FRAME" and name != "PROTO":
            raise _NotKnown

    def _change(self, raw: bytes, values: list[_Node]) -> None:
        if self._stack[-1].is_atom:
            raise _NotKnown
        self._stack[-1].changes.append((raw, values))

    def _taken(self, count: int) -> list[_Node]:
        begin = len(self._stack) - count
        if begin < (self._marks[-1] if self._marks else 0):
            raise _NotKnown
        values = self._stack[begin:]
        del self._stack[begin:]
        return values

    def _marked(self) -> list[_Node]:
        begin = self._marks.pop()
        values = self._stack[begin:]
        del self._stack[begin:]
        return values


def _describe(node: _Node, numbers: dict[int, int], keys: dict[int, bytes], pieces: list[bytes]) -> None:
    """Add the unique description of this value. `numbers` are those of the values described before."""
    if node.is_atom:
        pieces += (b"a", _LENGTH.pack(len(node.raw)), node.raw)
        return
    number = numbers.get(id(node))
    if number is not None:
        pieces += (b"r", _LENGTH.pack(number))
        return
    numbers[id(node)] = len(numbers)
    counts = len(node.parts), len(node.items), len(node.changes)
    pieces += (b"n", _LENGTH.pack(len(node.raw)), node.raw, _COUNTS.pack(*counts))
    for part in node.parts:
        _describe(part, numbers, keys, pieces)
    for item in _in_order(node.items, keys):
        _describe(item, numbers, keys, pieces)
    for raw, values in node.changes:
        pieces += (raw, _LENGTH.pack(len(values)))
        for value in values:
            _describe(value, numbers, keys, pieces)


def _in_order(items: list[_Node], keys: dict[int, bytes]) -> list[_Node]:
    return sorted(items, key=lambda item: _key(item, keys)) if len(items) > 1 else items


def _key(node: _Node, keys: dict[int, bytes]) -> bytes:
    """A hash of a value, by which the items of a set are sorted."""
    key = keys.get(id(node))
    if key is not None:
        return key
    keys[id(node)] = b""  # It may hold itself.
    digest = blake2b(node.raw, digest_size=16)
    for part in node.parts:
        digest.update(b"p" + _key(part, keys))
    for each in sorted(_key(item, keys) for item in node.items):
        digest.update(b"i" + each)
    for raw, values in node.changes:
        digest.update(raw)
        for value in values:
            digest.update(b"c" + _key(value, keys))
    keys[id(node)] = digest.digest()
    return keys[id(node)]
