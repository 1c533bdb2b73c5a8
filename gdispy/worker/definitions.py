"""Identity of functions and classes at both ends of a connection, although they are sent by value.

Standard library. Callable in any thread.

Each function or class sent by value has an identifier, derived from its module, its name and its contents, and, if
several are equal, their order: so the same program produces the same identifiers in each run. A receiver records the
identifier and creates the object only once. A worker sends a received object back as the identifier, and the client
takes the object that it had sent.

Invariants:
1. An identifier stands for one object in a process, and an object has one identifier.
2. Sent classes are kept for long: a result may contain an instance of a class that the program has dropped.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from gdispy.worker.codes import fingerprint

IDENTIFIER_BYTES = 16
#: Number of sent classes that are kept although the program may have dropped them.
_KEPT = 4096


class Definitions:
    """The identifiers of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        #: By the address of the object, which may define equality: the object and its identifier.
        self._known: dict[int, tuple[weakref.ref[Any], bytes]] = {}
        self._objects: weakref.WeakValueDictionary[bytes, Any] = weakref.WeakValueDictionary()
        self._order: dict[bytes, int] = {}
        self._kept: deque[Any] = deque(maxlen=_KEPT)
        self._settled_objects: list[Any] = []
        #: Objects received from the other end.
        self.received: set[bytes] = set()
        #: Objects of the computation, which stay as they were received.
        self.settled: set[bytes] = set()
        #: Distinguishes definitions created in this process from those of other workers; empty in a client, whose
        #: identifiers must be the same in each run.
        self._birthplace = b""
        #: By the addresses of dictionaries of globals without a module: their numbers, and a function of each.
        self._unnamed: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._last_unnamed = 0
        #: Plain objects that programs use as sentinels: by address, and by identifier.
        self._sentinels: dict[int, tuple[Any, bytes]] = {}
        self._sentinel_of: dict[bytes, Any] = {}

    @property
    def is_worker(self) -> bool:
        """Whether this process is for one computation only."""
        return bool(self._birthplace)

    def be_worker(self) -> None:
        """From now on identifiers are specific to this process, or to one forked from it."""
        self._birthplace = os.urandom(8)

    def identify(self, obj: Any) -> bytes:
        """The identifier of a function, class or type variable; created if necessary."""
        with self.lock:
            known = self._known.get(id(obj))
            if known is not None and known[0]() is obj:
                return known[1]
            place = self.birthplace()
            name = getattr(obj, "__qualname__", "") or getattr(obj, "__name__", "")
            text = f"{getattr(obj, '__module__', '')}:{name}"
            likeness = hashlib.blake2b(place + text.encode("utf-8", "surrogatepass") + fingerprint(obj))
            key = likeness.digest()
            order = self._order[key] = self._order.get(key, -1) + 1
            likeness.update(order.to_bytes(8, "big"))
            identifier = likeness.digest()[:IDENTIFIER_BYTES]
            if isinstance(obj, type) and not place:
                self._kept.append(obj)
            self._note(obj, identifier)
            return identifier

    def birthplace(self) -> bytes:
        """Distinguishes this process; empty for a client."""
        return self._birthplace + os.getpid().to_bytes(8, "big") if self._birthplace else b""

    def number_of(self, names: dict[str, Any], owner: Any) -> int:
        """A number for globals that do not belong to a module in `sys.modules`, such as those of executed text; `owner`
        is a function, or a module, that has them."""
        with self.lock:
            number, last = self._unnamed.get(id(names), (0, None))
            known = last() if last is not None else None
            if known is None or getattr(known, "__globals__", None) is not names is not getattr(
                known, "__dict__", None
            ):
                self._last_unnamed += 1
                number = self._last_unnamed
                address = id(names)
                gone = weakref.ref(owner, lambda _: self._unnamed.pop(address, None))
                self._unnamed[address] = number, gone
            return number

    def identify_sentinel(self, obj: object, is_new: bool) -> bytes | None:
        """The identifier of a plain `object()`; with `is_new` it is created, and the object is kept."""
        with self.lock:
            known = self._sentinels.get(id(obj))
            if known is None and is_new:
                number = len(self._sentinels).to_bytes(8, "big")
                known = obj, hashlib.blake2b(self.birthplace() + number, digest_size=IDENTIFIER_BYTES).digest()
                self._sentinels[id(obj)] = known
                self._sentinel_of[known[1]] = obj
            return known[1] if known is not None else None

    def receive_sentinel(self, identifier: bytes, make: Callable[[], Any] = object) -> Any:
        """The object of such an identifier."""
        with self.lock:
            found = self._sentinel_of.get(identifier)
            if found is None:
                found = self._sentinel_of[identifier] = make()
                self._sentinels[id(found)] = found, identifier
            return found

    def find(self, identifier: bytes) -> Any:
        """The object, or None."""
        return self._objects.get(identifier)

    def receive(self, identifier: bytes, make: Any) -> tuple[Any, bool]:
        """The object of an identifier in a payload, and whether `make` was called to create it."""
        with self.lock:
            found = self._objects.get(identifier)
            if found is not None:
                return found, False
            made = make()
            self._note(made, identifier)
            self.received.add(identifier)
            return made, True

    def is_settled(self, obj: Any) -> bool:
        """Whether an object belongs to the computation, and must not change."""
        known = self._known.get(id(obj))
        return known is not None and known[1] in self.settled and known[0]() is obj

    def is_own(self, obj: Any) -> bool:
        """Whether an object was created in this process and not received."""
        known = self._known.get(id(obj))
        return known is not None and known[0]() is obj and known[1] not in self.received

    def settle(self) -> None:
        """Objects received so far belong to the computation."""
        self.settled |= self.received
        self._settled_objects = [obj for obj in map(self.find, self.settled) if obj is not None]

    def _note(self, obj: Any, identifier: bytes) -> None:
        address = id(obj)

        def forget(_: Any) -> None:
            self._known.pop(address, None)
            self.received.discard(identifier)

        self._known[address] = weakref.ref(obj, forget), identifier
        self._objects[identifier] = obj


class _Returnable:
    """The identifiers that a client can resolve: classes, which it keeps, and everything of the computation."""

    def __contains__(self, identifier: object) -> bool:
        if identifier in definitions.settled:
            return True
        return identifier in definitions.received and isinstance(definitions.find(identifier), type)


def _renew_lock() -> None:
    # Another thread may have held it at the fork, and it would never be released in the child.
    definitions.lock = threading.RLock()


definitions = Definitions()
os.register_at_fork(after_in_child=_renew_lock)
returnable = _Returnable()


def by_path(module: str, path: str) -> Any:
    """What a module that is loaded holds under a dotted name; None where there is no such thing."""
    found: Any = sys.modules.get(module)
    for part in path.split(".") if found is not None else ():
        found = vars(found).get(part) if isinstance(found, types.ModuleType) else getattr(found, part, None)
        if found is None:
            return None
    return found
