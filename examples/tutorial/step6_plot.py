"""Step 6: a plot of all results. Needs matplotlib, on this machine only.

python examples/tutorial/step6_plot.py                       on this machine
python examples/tutorial/step6_plot.py local 127.0.0.1       and on a node
"""

import sys

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
    rates = [2.5 + 1.5 * step / 800 for step in range(800)]
    with gdispy.Executor(sys.argv[1:] or ["local"]) as executor:
        plot(rates, list(executor.map(visited, rates)))


def plot(rates: list[float], values: list[list[float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    pairs = zip(rates, values, strict=True)
    points = [(rate, x) for rate, found in pairs for x in found]
    plt.figure(figsize=(7, 4))
    plt.plot(*zip(*points, strict=True), ",", color="#2563eb", alpha=0.6)
    plt.xlabel("rate")
    plt.ylabel("values that x visits")
    plt.tight_layout()
    plt.savefig("visited.png", dpi=100)
    print(f"{len(points)} points are in visited.png")


if __name__ == "__main__":
    main()
