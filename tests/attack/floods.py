"""Floods by strangers, each kind from the honest ones' address and from many, by a process of its own.

Goals: connections that are there stay, newcomers get in, and the daemon's memory and descriptors stay bounded.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from functools import partial

from tests.attack.site import NODE, SCHEDULER, TLS_NODE
from tests.attack.stage import Attack, Stage
from tests.support.daemons import ended

#: Processes that flood at the same time.
FLOODERS = 2

#: What strangers do, in words, and as `flooder.py` calls it.
PLAIN = {"come and go": "close", "silence": "silent", "random bytes": "garbage", "magic and random bytes": "magic"}
TLS = {"ClientHello": "hello", "half a ClientHello": "half"}


def flood(kind: str, stage: Stage) -> None:
    """Half of the time from one address, half from many."""
    for many, name in ((False, "a second, one address"), (True, "a second, many addresses")):
        stage.revive()
        seconds = max(0.1, stage.left if many else stage.seconds / 2)
        came = _run(stage, kind, many, seconds)
        stage.tried(came)
        stage.row.details[name] = round(came / seconds)


def _run(stage: Stage, kind: str, many: bool, seconds: float) -> int:
    """How many came to the daemon."""
    todo = {"kind": kind, "place": stage.target.place, "seconds": seconds, "many": many, "parent": os.getpid()}
    came = 0
    with contextlib.ExitStack() as stack:
        processes = []
        for number in range(FLOODERS):
            words = json.dumps({**todo, "seed": f"{stage.seed} {many} {number}"})
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.attack.flooder", words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
            stack.enter_context(ended(process))
            processes.append(process)
        for process in processes:
            output, _ = process.communicate(timeout=seconds + 20)
            came += int(json.loads(output or b'{"came": 0}')["came"])
    return came


def attacks() -> list[Attack]:
    found = []
    for target, kinds in ((NODE, PLAIN), (TLS_NODE, {**PLAIN, **TLS}), (SCHEDULER, PLAIN)):
        for name, kind in kinds.items():
            act = partial(flood, kind)
            found.append(Attack("floods", name, target, act, 2.0, 1.0, True, 0.25, target == TLS_NODE))
    return found
