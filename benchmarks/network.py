"""How quickly nodes are found, and how much passes: on networks of its own, as root (`make bench-network`).

    outside (192.0.2.9) ─ wan ─ (192.0.2.1) router with NAT (10.1.0.1) ─ lan ─ one (10.1.0.2), two (10.1.0.3)

All hosts are namespaces of this machine, so the links are as quick as its memory; what is compared is the way. Each row
is measured three times and has the middle value. Takes about half a minute.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from gdispy import generate_secret
from tests.support.lab import Host, Lab, why_not

TIMES = 3
BULK = 64 << 20


class Place:
    """The networks of one measurement."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lan, wan = lab.lan(), lab.lan("wan")
        self.router = lab.router("router", nat="eth1")
        self.router.join(lan, "10.1.0.1/24")
        self.router.join(wan, "192.0.2.1/24")
        lab.forward(self.router, "eth1", 51348, "10.1.0.2:51348")
        self.one, self.two, self.outside = (self.host(name) for name in ("one", "two", "outside"))
        for number, host in enumerate((self.one, self.two), 2):
            host.join(lan, f"10.1.0.{number}/24")
            host.gateway("10.1.0.1")
        self.outside.join(wan, "192.0.2.9/24")

    def host(self, name: str) -> Host:
        return self.lab.host(name)


def time_to_first_job(client: Host, node: Host, *options: str, **cluster: Any) -> float:
    """Seconds from the start of `gdispy-node` to the end of its first job, on a cluster that runs and waits."""
    program = client.program(jobs=1, **cluster)
    program.ask("status")
    begun = time.monotonic()
    node.node(*options)
    told = program.ask("wait 20")
    assert told, program.log.read_text()
    return time.monotonic() - begun


def bulk(client: Host, **cluster: Any) -> float:
    """Bytes a second, there and back together, of one job with a large argument and result."""
    program = client.program(jobs=0, bulk=1000, **cluster)
    assert program.ask("wait 20"), program.log.read_text()
    begun = time.monotonic()
    program.ask(f"bulk {BULK}")
    assert program.ask("wait 60"), program.log.read_text()
    return 2 * BULK / (time.monotonic() - begun)


def start_of_cluster(client: Host, **cluster: Any) -> float:
    """Milliseconds that JobCluster(...) takes in the user's program."""
    program = client.program(jobs=0, **cluster)
    return 1000 * float(program.ask("made"))


def forwarded(place: Place) -> float:
    place.one.node("--ext_ip_addr", "192.0.2.1")
    return bulk(place.outside, nodes=["192.0.2.1"])


def came_by_itself(place: Place) -> float:
    place.one.node("--connect", "192.0.2.9")
    return bulk(place.outside)


def direct(place: Place) -> float:
    place.one.node()
    return bulk(place.two, nodes=["10.1.0.2"])


def relayed(place: Place) -> float:
    place.one.node()
    place.router.relay("-p", "51349")
    return bulk(place.outside, nodes=["*", "192.0.2.1:51349"])


ROWS: list[tuple[str, str, float, Callable[[Place], float]]] = [
    ("start of a node to its first job, found by broadcast", "s", 1.0, lambda p: time_to_first_job(p.two, p.one)),
    (
        "start of a node to its first job, named",
        "s",
        1.0,
        lambda p: time_to_first_job(p.two, p.one, nodes=["10.1.0.2"]),
    ),
    (
        "start of a node to its first job, from behind NAT (--connect)",
        "s",
        1.0,
        lambda p: time_to_first_job(p.outside, p.one, "--connect", "192.0.2.9"),
    ),
    ("JobCluster(...) that nodes can come to", "ms", 0.0, lambda p: start_of_cluster(p.two)),
    ("JobCluster(...) that listens nowhere", "ms", 0.0, lambda p: start_of_cluster(p.two, nodes=["127.0.0.1"])),
    ("large argument and result on one LAN", "MB/s", 0.0, lambda p: direct(p) / 1e6),
    ("the same through NAT, port forwarded", "MB/s", 0.0, lambda p: forwarded(p) / 1e6),
    ("the same through NAT, --connect", "MB/s", 0.0, lambda p: came_by_itself(p) / 1e6),
    ("the same through a relay", "MB/s", 0.0, lambda p: relayed(p) / 1e6),
]


def measure(what: Callable[[Place], float]) -> float:
    with tempfile.TemporaryDirectory() as directory:
        secret = Path(directory) / "secret"
        secret.touch(0o600)
        secret.write_text(generate_secret())
        os.environ["XDG_CONFIG_HOME"] = directory
        lab = Lab(Path(directory), str(secret))
        try:
            return what(Place(lab))
        finally:
            lab.close()


def main() -> int:
    reason = why_not()
    if reason:
        print(f"not measured: {reason}", file=sys.stderr)
        return 1
    met = True
    for text, unit, goal, what in ROWS:
        values = [measure(what) for _ in range(TIMES)]
        middle = statistics.median(values)
        remark = f"  goal {goal} {unit}: {'met' if middle <= goal else 'NOT MET'}" if goal else ""
        met = met and not (goal and middle > goal)
        print(f"{text:64} {middle:8.2f} {unit:4} ({min(values):.2f} to {max(values):.2f}){remark}", flush=True)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
