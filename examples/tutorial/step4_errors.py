"""Step 4: calls that fail.

python examples/tutorial/step4_errors.py
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
    with gdispy.Executor("local") as executor:
        good = executor.submit(visited, 3.2)
        bad = executor.submit(visited, 4.2)
        lost = executor.options(timeout=0.5).submit(forever)
        print("good:", good.result())
        # The exception of the call; with result(), it is raised here.
        print("bad:", repr(bad.exception()))
        # Its cause has the traceback of the node.
        print(bad.exception().__cause__)
        print("lost:", type(lost.exception()).__name__)
        # A failed call affects no other call.
        print("again:", executor.submit(visited, 2.0).result())


def forever() -> None:
    while True:
        pass


if __name__ == "__main__":
    main()
