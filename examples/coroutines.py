"""Jobs in asyncio: `await job`. In a notebook, `await` works in any cell.

python examples/coroutines.py                  on this machine
python examples/coroutines.py node1 node2      on two machines
"""

import asyncio
import sys

import gdispy


async def shares(cluster: gdispy.JobCluster, number: int) -> str:
    """Two jobs; the second needs the result of the first."""
    square = await cluster.submit(number, 2)
    cube = await cluster.submit(square * number, 1)
    return f"{number}: {square}, {cube}"


async def main() -> None:
    nodes = sys.argv[1:] or ["local"]
    # A lambda is as good as a function of a module: definitions in a notebook
    # are sent too.
    with gdispy.JobCluster(
        lambda base, power: base**power, nodes=nodes
    ) as cluster:
        for line in await asyncio.gather(
            *(shares(cluster, number) for number in range(5))
        ):
            print(line)
        job = cluster.submit("no number", 2)
        try:
            # `result_or_raise` blocks, so coroutines must not call it before
            # the job has ended.
            await job
            job.result_or_raise()
        except gdispy.JobFailed as error:
            print("failed:", str(error).strip().splitlines()[-1])


if __name__ == "__main__":
    asyncio.run(main())
