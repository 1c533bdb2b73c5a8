"""Custom scheduling: this program assigns one job at a time to each CPU.

    python examples/own_schedule.py                on this machine
    python examples/own_schedule.py node1 node2    on two machines

`cluster_status` is called for each event of nodes and jobs. A node that is
ready gets a job for each of its CPUs, and the next one whenever one has ended:
large tasks here, so that the small ones fill the gaps at the end.
"""

import sys
import threading
import time

import gdispy


def work(size: int) -> int:
    """Stands for a computation that takes long in proportion to its size."""
    time.sleep(size / 200)
    return size


class Schedule:
    """Hands out tasks, the largest first."""

    def __init__(self, sizes: list[int]) -> None:
        self.left = sorted(sizes)
        self.unfinished = len(sizes)
        self.is_done = threading.Event()
        self.lock = threading.Lock()

    def follow(
        self,
        status: int,
        node: gdispy.DispyNode | None,
        job: gdispy.DispyJob | None,
    ) -> None:
        """Told of each event; `job` is None for events of nodes."""
        if status == gdispy.DispyNode.Initialized:
            print(f"a node with {node.cpus} CPUs is ready")
            for _ in range(node.cpus):
                self.hand_out(node)
        elif status == gdispy.DispyJob.Finished:
            print(f"size {job.id}: done")
            self.hand_out(node)
            self.count_one()
        elif status in (
            gdispy.DispyJob.Terminated,
            gdispy.DispyJob.Abandoned,
            gdispy.DispyJob.Cancelled,
        ):
            print(f"size {job.id}: {job.exception}")
            self.count_one()

    def hand_out(self, node: gdispy.DispyNode) -> None:
        with self.lock:
            if not self.left:
                return
            size = self.left.pop()
        job = self.cluster.submit_job_id_node(size, node, size)
        if job is None:  # The node is lost.
            with self.lock:
                self.left.append(size)

    def count_one(self) -> None:
        with self.lock:
            self.unfinished -= 1
            if not self.unfinished:
                self.is_done.set()

    def run(self, nodes: list[str]) -> None:
        with gdispy.JobCluster(
            work, nodes=nodes, cluster_status=self.follow
        ) as self.cluster:
            self.is_done.wait()


if __name__ == "__main__":
    Schedule([1, 2, 3, 5, 8, 13, 21, 34, 55]).run(sys.argv[1:] or ["local"])
