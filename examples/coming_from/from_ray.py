"""For those who know Ray's tasks and objects.

python examples/coming_from/from_ray.py [NODE ...]
"""

import sys
from concurrent.futures import FIRST_COMPLETED, wait

import gdispy

#: A large object: it is sent to each node once, with the function.
weights = list(range(100_000))


def score(first: int) -> int:
    return sum(weights[first : first + 1000])


def main() -> None:
    with gdispy.Executor(sys.argv[1:] or "local") as executor:
        two_cpus = executor.options(cpus=2, retries=3)
        waiting = {two_cpus.submit(score, n) for n in range(0, 5000, 1000)}
        total = 0
        while waiting:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            total += sum(future.result() for future in ended)
        print("total:", total)


if __name__ == "__main__":
    main()
