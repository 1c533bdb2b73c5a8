"""Row 6: a whole program that gets one result from a private node on this machine."""

from gdispy import JobCluster


def double(number: int) -> int:
    return 2 * number


if __name__ == "__main__":
    with JobCluster(double, nodes=["local"]) as cluster:
        print(cluster.submit(21)(), flush=True)
