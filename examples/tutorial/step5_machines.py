"""Step 5: the same program on several machines.

python examples/tutorial/step5_machines.py                   on this machine
python examples/tutorial/step5_machines.py local 127.0.0.1   and on a node
"""

import sys
from collections import Counter

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
    rates = [2.5 + 1.5 * step / 200 for step in range(200)]
    with gdispy.Executor(sys.argv[1:] or ["local"]) as executor:
        futures = [executor.submit(visited, r, steps=300_000) for r in rates]
        counts = Counter(len(future.result()) for future in futures)
        print(f"{counts[1]} rates have 1 value, {counts[2]} have 2")
        for node in executor.cluster.status().nodes:
            print(f"{node.name} with {node.cpus} CPUs: {node.jobs_done} calls")


if __name__ == "__main__":
    main()
