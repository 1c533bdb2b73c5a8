"""For those who know `concurrent.futures`.

python examples/coming_from/from_concurrent_futures.py [NODE ...]
"""

import sys
from concurrent.futures import as_completed

import gdispy


def collatz(number: int) -> int:
    steps = 0
    while number != 1:
        number = 3 * number + 1 if number % 2 else number // 2
        steps += 1
    return steps


def main() -> None:
    with gdispy.Executor(sys.argv[1:] or "local") as executor:
        longest = max(executor.map(collatz, range(1, 10_000)))
        print("longest:", longest)
        futures = {executor.submit(collatz, n): n for n in (27, 97, 871)}
        for future in as_completed(futures):
            print(futures[future], "takes", future.result(), "steps")


if __name__ == "__main__":
    main()
