"""For those who know `dask.distributed` or `dask.delayed`.

python examples/coming_from/from_dask.py [NODE ...]
"""

import sys
from concurrent.futures import as_completed

import gdispy


def count_words(text: str) -> int:
    return len(text.split())


def main() -> None:
    texts = ["one two", "three", "four five six"]
    with gdispy.Executor(sys.argv[1:] or "local") as executor:
        futures = [executor.submit(count_words, text) for text in texts]
        for future in as_completed(futures):
            print("done on", future.job.ip_addr)
        # There is no graph: the program passes results on.
        total = executor.submit(sum, [future.result() for future in futures])
        print("total:", total.result())


if __name__ == "__main__":
    main()
