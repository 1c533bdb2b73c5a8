"""Optimisation from many starting points, until one of them is good enough.

    python examples/optimise.py                    on this machine
    python examples/optimise.py node1 node2        on two machines

Each job sends its best result so far as provisional results. The callback
receives them while jobs run, and cancels the other jobs once one has reached
the goal.
"""

import random
import sys
import time

import gdispy

GOAL = 0.01


def descend(seed: int) -> tuple[float, list[float]]:
    """Search for a low point of Himmelblau's function by random steps."""
    chance = random.Random(seed)
    x, y = chance.uniform(-5, 5), chance.uniform(-5, 5)
    best = told = float("inf")
    step = 0.5
    while step > 1e-9:
        near_x, near_y = chance.gauss(x, step), chance.gauss(y, step)
        value = (near_x**2 + near_y - 11) ** 2 + (near_x + near_y**2 - 7) ** 2
        if value < best:
            x, y, best = near_x, near_y, value
            if best < told / 2:
                dispy_provisional_result((best, [x, y]))
                told = best
        else:
            step *= 0.99
        time.sleep(0.001)  # Stands for a long computation.
    return best, [x, y]


class Race:
    """Follows the jobs, and stops all when one has won."""

    def __init__(self) -> None:
        self.best: tuple[float, list[float]] = (float("inf"), [])
        self.is_won = False

    def follow(self, job: gdispy.DispyJob) -> None:
        """The callback: one call at a time, in a thread of its own."""
        if job.status not in (
            gdispy.DispyJob.ProvisionalResult,
            gdispy.DispyJob.Finished,
        ):
            return
        self.best = min(self.best, job.result)
        if self.best[0] < GOAL and not self.is_won:
            self.is_won = True
            for each in self.jobs:
                if each.id != job.id:  # `job` may be a copy, so compare ids.
                    self.cluster.cancel(each)

    def run(self, nodes: list[str]) -> None:
        with gdispy.JobCluster(
            descend, nodes=nodes, callback=self.follow
        ) as cluster:
            self.cluster = cluster
            self.jobs: list[gdispy.DispyJob] = []
            for seed in range(50):
                self.jobs.append(cluster.submit(seed))
            cluster.wait()
        ended_early = sum(
            job.status != gdispy.DispyJob.Finished for job in self.jobs
        )
        value, point = self.best
        ended = f"{ended_early} of {len(self.jobs)} jobs were cancelled"
        print(f"found {value:.4f} at {point}; {ended}")


if __name__ == "__main__":
    Race().run(sys.argv[1:] or ["local"])
