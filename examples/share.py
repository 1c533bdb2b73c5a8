"""Two computations at once on nodes that a `gdispy-scheduler` shares.

    gdispy-node &                       # on each machine that runs jobs
    gdispy-scheduler &                  # on one machine
    python examples/share.py [SCHEDULER_HOST]     # any number of times

The default scheduler is on this machine.
"""

import sys

import gdispy


def square(number):
    return number * number


def length(text):
    return len(text)


if __name__ == "__main__":
    host = sys.argv[1] if len(sys.argv) > 1 else None
    with (
        gdispy.SharedJobCluster(square, scheduler_node=host) as squares,
        gdispy.SharedJobCluster(length, scheduler_node=host) as lengths,
    ):
        numbers = [squares.submit(number) for number in range(10)]
        words = [lengths.submit(word) for word in ("one", "three", "fifteen")]
        print("squares:", [job() for job in numbers])
        print("lengths:", [job() for job in words])
        squares.print_status()
