"""Data that each node loads once, and that its jobs share without copies.

    python examples/node_data.py                   on this machine
    python examples/node_data.py node1 node2       on two machines

`setup` runs once on each node before any job there. Jobs see its global
variables, and share memory that it shares between processes. `cleanup` runs
once on each node at the end.
"""

import multiprocessing
import sys
import tempfile
from pathlib import Path

import gdispy


def load(path: str = "masses.csv", factor: float = 1.0) -> int:
    """Runs once on each node, in the directory with the files."""
    global masses, lookups
    with open(path) as file:
        rows = (line.split(",") for line in file)
        masses = {name: factor * float(mass) for name, mass in rows}
    lookups = multiprocessing.Value("i", 0)
    return 0  # Success: use this node.


def formula_mass(formula: list[str]) -> float:
    """A job: looks up what `load` has read."""
    with lookups.get_lock():
        lookups.value += len(formula)
    return sum(masses[element] for element in formula)


def tell(path: str = "", factor: float = 1.0) -> None:
    """Runs once on each node at the end, with the arguments of `load`."""
    dispynode_logger.warning("%d lookups on %s", lookups.value, dispy_node_name)


class Weighing(gdispy.NodeAllocate):
    """Chooses nodes and what they load. Called once for each node."""

    def allocate(
        self, cluster, ip_addr, name, cpus, avail_info=None, platform=""
    ):
        if avail_info is not None and avail_info.memory < 100_000_000:
            return 0  # Not enough memory: do not use this node.
        self.setup_args = ("masses.csv", 1000.0)  # This node uses thousandths.
        return max(1, cpus - 1)  # Leave one CPU to the owner.


def weighing(place: str, table: Path) -> Weighing:
    host, _, port = place.partition(":")
    return Weighing(host, int(port) if port else None, depends=[table])


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        table = Path(directory, "masses.csv")
        table.write_text("H,1.008\nC,12.011\nO,15.999\n")
        nodes = [weighing(place, table) for place in sys.argv[1:]] or ["local"]
        depends = [] if sys.argv[1:] else [table]
        water, methane = ["H", "H", "O"], ["C", "H", "H", "H", "H"]
        with gdispy.JobCluster(
            formula_mass, nodes=nodes, depends=depends, setup=load, cleanup=tell
        ) as cluster:
            for name, mass in zip(
                ("water", "methane"), cluster.map([water, methane]), strict=True
            ):
                print(f"{name}: {mass:.3f}")
            for node in cluster.status().nodes:
                print(f"{node.jobs_done} jobs on {node.cpus} CPUs")


if __name__ == "__main__":
    main()
