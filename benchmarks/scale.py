"""How many decisions a second the scheduler's rules make, and whether that depends on the size of the installation.

    python benchmarks/scale.py [--quick | --full]

No sockets and no processes: the real `Dispatch`, fed with what nodes and clients would say. Each node has 16 CPUs;
each client has one computation and queues its jobs at once; jobs take a second of simulated time, so that nothing is
sent ahead and each job is a decision of its own. A decision is one job placed on one node.
"""

from __future__ import annotations

import argparse
import time

from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.job_status import FINISHED
from gdispy.protocol.messages import Ended, Hello, Inventory, Open, Prepare, Prepared, Run
from gdispy.rules.effects import Effects, Send
from gdispy.rules.scheduler.dispatch import Dispatch

CPUS = 16
#: Nodes and clients of each line of the table; of the last with `--full`, which takes about ten minutes and 10 GB.
SIZES = ((10, 1), (10, 10), (100, 10), (1_000, 10), (10_000, 10))
FULL = (10_000, 1_000)
FULL_JOBS = 10_000_000


def run_message(computation: ComputationId, first: int, count: int) -> Run:
    jobs = [JobId(first + place) for place in range(count)]
    return Run(computation, jobs, [1] * count, [b""] * count)


def ended_message(run: Run, now: float) -> Ended:
    """All jobs of a message have ended, a second after they began."""
    size = len(run.jobs)
    texts = [b""] * size
    times = [now - 1.0] * size, [now] * size
    return Ended(
        run.computation,
        run.jobs,
        run.attempts,
        [FINISHED] * size,
        texts,
        texts,
        texts,
        [""] * size,
        *times,
        [0] * size,
        [False] * size,
        "",
    )


class Installation:
    """A scheduler with nodes and clients."""

    def __init__(self, nodes: int, clients: int) -> None:
        self.dispatch = Dispatch()
        #: What each node was given and has not ended.
        self.running: list[tuple[Peer, Run]] = []
        self.placed = self.finished = 0
        self.computations = [ComputationId(b"%08d" % client) for client in range(clients)]
        for client, computation in enumerate(self.computations):
            prepare = Prepare(computation, "f", "function", "", "", "", True, b"", [], [])
            self.dispatch.receive_from_client(Peer(-1 - client), [Open(computation, ["*"], False), prepare], 0.0)
        for node in range(nodes):
            peer, instance = Peer(node), Instance(b"%016d" % node)
            hello = Hello("node", instance, f"node{node}", "0", "3.11", "linux", CPUS, "", 0.0)
            self.dispatch.joined(peer, hello, [f"10.{node >> 16}.{node >> 8 & 255}.{node & 255}"], 51348, 0.0)
            self.dispatch.receive(peer, [Inventory([], [], [])], 0.0)
            self.dispatch.receive(peer, [Prepared(each, "") for each in self.computations], 0.0)

    def submit(self, each: int) -> None:
        """Every client queues so many jobs, 50,000 in a message at most."""
        for client, computation in enumerate(self.computations):
            for first in range(1, each + 1, 50_000):
                message = run_message(computation, first, min(50_000, each + 1 - first))
                self.take(self.dispatch.receive_from_client(Peer(-1 - client), [message], 0.0))

    def take(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Run):
                self.running.append((effect.peer, effect.message))
                self.placed += len(effect.message.jobs)

    def work(self) -> None:
        """Nodes end their jobs, and get others, until none is left."""
        now = 1.0
        while self.running:
            now += 1.0
            running, self.running = self.running, []
            for peer, run in running:
                self.finished += len(run.jobs)
                self.take(self.dispatch.receive(peer, [ended_message(run, now)], now))
                self.dispatch.due()
            self.take(self.dispatch.tick(now))


def measure(nodes: int, clients: int, jobs: int) -> tuple[float, float]:
    """Decisions a second, and seconds that queueing took."""
    installation = Installation(nodes, clients)
    began = time.perf_counter()
    installation.submit(jobs // clients)
    queued = time.perf_counter()
    installation.work()
    took = time.perf_counter() - queued
    if installation.finished != jobs // clients * clients:
        raise SystemExit(f"{installation.finished} of {jobs} jobs ended")
    return jobs / took, queued - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the scheduler's rules alone.")
    parser.add_argument("--quick", action="store_true", help="few jobs: for a test")
    parser.add_argument("--full", action="store_true", help="the largest installation as well")
    parser.add_argument("--jobs", type=int, default=400_000, help="jobs in all, for each line")
    options = parser.parse_args()
    jobs = 20_000 if options.quick else options.jobs
    print(f"{'nodes':>7} {'clients':>8} {'jobs':>10} {'decisions/s':>12} {'us each':>8} {'queued in':>10}")
    lines = [(*size, max(jobs, 2 * size[0] * CPUS)) for size in SIZES]
    for nodes, clients, count in [*lines, *([(*FULL, FULL_JOBS)] if options.full else [])]:
        rate, queueing = measure(nodes, clients, count)
        print(f"{nodes:>7} {clients:>8} {count:>10} {rate:>12,.0f} {1e6 / rate:>8.1f} {queueing:>8.2f} s", flush=True)


if __name__ == "__main__":
    main()
