"""Functions and classes that are the same at both ends of a connection, though they travelled by value.

Standard library. Called in any thread.

Each that travels by value has an identifier, made from its module, its name and what is written in it, and, where
several are alike in that, their order: so the same program, started again, gives the same ones. Whoever makes it from
a payload notes the identifier, and makes no second one. What a worker has got it sends back as the mere identifier, and
the client takes the object that it had sent.

Invariants:
1. An identifier means one object in a process, and an object has one identifier.
2. Classes that were sent stay for long: a result may bring back an object of one that the program has let go of.
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
#: So many classes that were sent stay, though the program may have let go of them.
_KEPT = 4096


class Definitions:
    """The identifiers of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        #: By the address of the object, which may define what equality means: the object and its identifier.
        self._known: dict[int, tuple[weakref.ref[Any], bytes]] = {}
        self._objects: weakref.WeakValueDictionary[bytes, Any] = weakref.WeakValueDictionary()
        self._order: dict[bytes, int] = {}
        self._kept: deque[Any] = deque(maxlen=_KEPT)
        self._settled_objects: list[Any] = []
        #: Those that came from the other end.
        self.received: set[bytes] = set()
        #: Those of the computation, which stay as they came with it.
        self.settled: set[bytes] = set()
        #: What distinguishes definitions that were made in this process from those of other workers; nothing in a
        #: client, whose identifiers are to be the same when the program is started again.
        self._birthplace = b""
        #: By the addresses of dictionaries that are globals, but of no module: their numbers, and a function of each.
        self._unnamed: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._last_unnamed = 0
        #: Plain objects, which programs have to tell something from all else: by address, and by identifier.
        self._sentinels: dict[int, tuple[Any, bytes]] = {}
        self._sentinel_of: dict[bytes, Any] = {}

    @property
    def is_worker(self) -> bool:
        """Whether this process is for one computation only."""
        return bool(self._birthplace)

    def be_worker(self) -> None:
        """From now on identifiers are of this process, or of one that is forked from it."""
        self._birthplace = os.urandom(8)

    def identify(self, obj: Any) -> bytes:
        """The identifier of a function, class or type variable; made where it has none."""
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
        """What distinguishes this process; nothing for a client."""
        return self._birthplace + os.getpid().to_bytes(8, "big") if self._birthplace else b""

    def number_of(self, names: dict[str, Any], owner: Any) -> int:
        """A number for globals that are of no module in `sys.modules`, such as of text that is executed; `owner` is
        a function, or a module, that has them."""
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
        """The identifier of a plain `object()`; with `is_new` it is given one, and stays."""
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
        """The object of an identifier that has come in a payload, and whether `make` was called to make it."""
        with self.lock:
            found = self._objects.get(identifier)
            if found is not None:
                return found, False
            made = make()
            self._note(made, identifier)
            self.received.add(identifier)
            return made, True

    def is_settled(self, obj: Any) -> bool:
        """Whether an object came with the computation, and is to stay as it is."""
        known = self._known.get(id(obj))
        return known is not None and known[1] in self.settled and known[0]() is obj

    def is_own(self, obj: Any) -> bool:
        """Whether an object was made in this process and not from a payload."""
        known = self._known.get(id(obj))
        return known is not None and known[0]() is obj and known[1] not in self.received

    def settle(self) -> None:
        """What was received up to now came with the computation."""
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
    """The identifiers of what a client can find when a worker sends no more than these: classes, which it keeps, and
    all that came with the computation."""

    def __contains__(self, identifier: object) -> bool:
        if identifier in definitions.settled:
            return True
        return identifier in definitions.received and isinstance(definitions.find(identifier), type)


def _renew_lock() -> None:
    # Another thread may have held it when the process was forked, and nobody would release it in the child.
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
