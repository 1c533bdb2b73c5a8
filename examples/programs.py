"""A program instead of a function, in any language, run for each data file.

    python examples/programs.py                    on this machine
    python examples/programs.py node1 node2        on two machines

From a shell, the same is:

    gdispy --local -f a.txt -f b.txt -a a.txt -a b.txt examples/longest_line.sh
"""

import os
import sys
from pathlib import Path

import gdispy

HERE = Path(__file__).parent


def main() -> None:
    nodes = sys.argv[1:] or ["local"]
    # Files below the working directory have the same relative paths on the
    # nodes.
    os.chdir(HERE)
    files = sorted(Path().glob("*.py"))
    with gdispy.JobCluster("longest_line.sh", nodes=nodes) as cluster:
        # The arguments are command-line arguments. Files are put into its
        # working directory.
        jobs = [
            cluster.submit(path, dispy_job_depends=[path]) for path in files
        ]
        for path, job in zip(files, jobs, strict=True):
            job.wait()
            # The result is the exit code, and the output is bytes.
            if job.status == gdispy.DispyJob.Finished and job.result == 0:
                print(job.stdout.decode(), end="")
            else:
                print(
                    f"{path}: exit code {job.result}",
                    job.exception or "",
                    job.stderr.decode(),
                )


if __name__ == "__main__":
    main()
