"""One function, many values: the peak of an epidemic, by rates of contact.

    python examples/values.py                      on this machine
    python examples/values.py node1 node2          on two machines

Shows four ways to collect results: a loop over jobs, `map`, `as_completed`, and
a progress bar.
"""

import sys

import gdispy


def peak(contacts: float, recovery: float = 0.1, days: int = 200) -> float:
    """The largest part of the people that is ill at the same time."""
    healthy, ill = 0.999, 0.001
    highest = ill
    for _ in range(10 * days):
        infected = 0.1 * contacts * healthy * ill
        recovered = 0.1 * recovery * ill
        healthy, ill = healthy - infected, ill + infected - recovered
        highest = max(highest, ill)
    return highest


def main() -> None:
    nodes = sys.argv[1:] or ["local"]
    rates = [number / 100 for number in range(10, 60)]
    with gdispy.JobCluster(peak, nodes=nodes) as cluster:
        # A job for each value, and their results in the same order. Arguments
        # can be given by name.
        jobs = [cluster.submit(rate, recovery=0.1) for rate in rates]
        results = [job.result_or_raise() for job in jobs]
        print(f"loop: {len(results)} results, highest peak {max(results):.1%}")

        # The same in one line. Short calls are combined, so this suits millions
        # of values.
        results = list(cluster.map(rates))
        print(
            f"map: at {rates[-1]} contacts a day the peak is {results[-1]:.1%}"
        )

        # Jobs as they end, to use each result immediately. `id` can be set:
        # here, to the value.
        jobs = [cluster.submit_job_id(rate, rate) for rate in rates]
        for job in cluster.as_completed(jobs):
            if job.exception:
                print(f"{job.id}: {job.exception}")
        print(f"as_completed: all {len(jobs)} have ended")

        # A progress bar (pip install 'gdispy[progress]').
        jobs = [cluster.submit(rate, days=2000) for rate in rates]
        cluster.wait(progress=True)
        finished = [job for job in jobs if job.exception is None]
        print(f"progress: {len(finished)} finished")
        cluster.print_status()


if __name__ == "__main__":
    main()
