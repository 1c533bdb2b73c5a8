"""For those who know `multiprocessing.Pool`.

python examples/coming_from/from_multiprocessing.py [NODE ...]
"""

import sys

import gdispy

table: dict[int, int] = {}


def load(size: int) -> None:
    """Runs in each worker process before its first call."""
    table.update((number, number**2) for number in range(size))


def look_up(number: int) -> int:
    return table[number]


def power(base: int, exponent: int) -> int:
    return base**exponent


def main() -> None:
    nodes = sys.argv[1:] or "local"
    with gdispy.Executor(nodes, initializer=load, initargs=(100,)) as executor:
        print("map:", list(executor.map(look_up, range(5))))
        pairs = [(2, 3), (3, 2)]
        print("starmap:", list(executor.map(power, *zip(*pairs, strict=True))))
        future = executor.submit(power, 2, 10)
        print("apply_async:", future.result(timeout=60))


if __name__ == "__main__":
    main()
