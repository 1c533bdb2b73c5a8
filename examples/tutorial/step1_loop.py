"""Step 1: a function and a loop.

python examples/tutorial/step1_loop.py
"""


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
    for rate in (2.9, 3.2, 3.5, 3.83, 3.9):
        found = visited(rate, steps=5_000_000)
        print(f"rate {rate}: {len(found)} values")


if __name__ == "__main__":
    main()
