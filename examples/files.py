"""Many files: each job gets one file, and returns the one that it creates.

    python examples/files.py data/*.csv                        on this machine
    python examples/files.py -n node1 -n node2 data/*.csv      on two machines

The files need not be on the nodes. `summary-NAME` appears here, in the working
directory, for each of them.
"""

import argparse
from collections import Counter
from pathlib import Path

import gdispy


def summarise(name: str) -> int:
    """Count the words of a file, in a directory of the node."""
    words = Counter(Path(name).read_text(errors="replace").split())
    summary = f"summary-{Path(name).name}"
    with open(summary, "w") as file:
        for word, count in words.most_common(10):
            print(count, word, file=file)
    if dispy_send_file(summary) != 0:
        raise OSError(f"{summary} could not be sent")
    return words.total()


def on_node(path: Path) -> str:
    """The path on nodes: relative to the working directory, or the name."""
    path = path.resolve()
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return path.name


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path, default=[Path(__file__)])
    parser.add_argument("-n", "--nodes", action="append")
    options = parser.parse_args()
    failed = total = 0
    with gdispy.JobCluster(
        summarise, nodes=options.nodes or ["local"]
    ) as cluster:
        jobs = []
        for path in options.files:
            # Sent for this job only, and removed on the node when the job has
            # ended.
            job = cluster.submit(on_node(path), dispy_job_depends=[path])
            job.id = path
            jobs.append(job)
        for job in cluster.as_completed(jobs):
            if job.status != gdispy.DispyJob.Finished:
                failed += 1
                print(f"{job.id}: {job.exception}")
            else:
                total += job.result
    print(f"{total} words in {len(jobs) - failed} files, {failed} failed")


if __name__ == "__main__":
    main()
