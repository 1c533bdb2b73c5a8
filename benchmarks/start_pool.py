"""Row 6, for comparison: the same program with a pool of Python's own library."""

import multiprocessing


def double(number: int) -> int:
    return 2 * number


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        print(pool.apply_async(double, (21,)).get(), flush=True)
