"""Step 2: the calls run on all CPUs of this machine.

python examples/tutorial/step2_cluster.py
"""

import gdispy


def visited(rate: float, steps: int = 100_000) -> list[float]:
    """The values that x -> rate * x * (1 - x) visits in the long run."""
    x = 0.5
    found = set()
    for step in range(steps):
        x = rate * x * (1 - x)
        if not 0 <= x <= 1:
            raise ValueError(f"the rate {rate} is too large: x is {x:.3f}")
        if step >= steps - 200:
            found.add(round(x, 4))
    return sorted(found)


def main() -> None:
    rates = (2.9, 3.2, 3.5, 3.83, 3.9)
    with gdispy.JobCluster(visited, nodes=["local"]) as cluster:
        jobs = [cluster.submit(rate, steps=5_000_000) for rate in rates]
        for rate, job in zip(rates, jobs, strict=True):
            print(f"rate {rate}: {len(job())} values")
        cluster.print_status()


if __name__ == "__main__":
    main()
