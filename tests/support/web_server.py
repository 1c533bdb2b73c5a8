"""What the processes of tests/integration/test_travelling_webs.py do: one has a web of `webs.py` at home, another
has nothing of it."""

from __future__ import annotations

import sys
import types
from typing import Any

from gdispy.worker import pickling
from tests.support.forking import serve


def joined(value: object) -> bytes:
    payload = pickling.dumps(value)
    return payload if isinstance(payload, bytes) else b"".join(payload)


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


if __name__ == "__main__":
    serve({"home": at_home, "away": away})
