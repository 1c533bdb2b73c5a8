"""Any functions, with the interface of `concurrent.futures`.

python examples/executor.py                    on this machine
python examples/executor.py node1 node2        on two machines
"""

import math
import sys
from concurrent.futures import as_completed

import gdispy


def is_prime(number: int) -> bool:
    candidates = range(2, math.isqrt(number) + 1)
    return number > 1 and all(number % each for each in candidates)


def largest_divisor(number: int) -> int:
    candidates = range(number // 2, 0, -1)
    return next(each for each in candidates if number % each == 0)


def main() -> None:
    with gdispy.Executor(sys.argv[1:] or "local") as executor:
        # Results in the order of the arguments.
        numbers = range(100_000, 100_200)
        are_prime = zip(numbers, executor.map(is_prime, numbers), strict=True)
        print([number for number, found in are_prime if found][:3])

        # Any function, and results as they arrive.
        futures = {
            executor.submit(largest_divisor, number): number
            for number in (91, 97, 99)
        }
        for future in as_completed(futures):
            print(futures[future], "is divisible by", future.result())

        # Exceptions are those that the call has raised.
        try:
            executor.submit(math.sqrt, -1).result()
        except ValueError as error:
            print("ValueError:", error)


if __name__ == "__main__":
    main()
