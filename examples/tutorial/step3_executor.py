"""Step 3: several functions, with the interface of `concurrent.futures`.

python examples/tutorial/step3_executor.py
"""

import math

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


def exponent(rate: float) -> float:
    """The Lyapunov exponent: above 0, small differences grow (chaos)."""
    x, total = 0.5, 0.0
    for _ in range(100_000):
        x = rate * x * (1 - x)
        total += math.log(abs(rate * (1 - 2 * x)) + 1e-12)
    return total / 100_000


def main() -> None:
    rates = (2.9, 3.2, 3.5, 3.83, 3.9)
    with gdispy.Executor("local") as executor:
        # Calls that run while the program does something else ...
        futures = [executor.submit(exponent, rate) for rate in rates]
        # ... and a loop in one line.
        values = executor.map(visited, rates)
        for rate, found, future in zip(rates, values, futures, strict=True):
            state = "chaos" if future.result() > 0 else "a cycle"
            print(f"rate {rate}: {len(found)} values, {state}")


if __name__ == "__main__":
    main()
