"""Count the primes below two hundred million on two nodes, as `make run` does.

    python examples/first_run.py                   all of them
    python examples/first_run.py 10000000          only those below ten million

The nodes are started on this machine; on other machines, run `gdispy-node`
there and list their names in `nodes`.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

import gdispy

BELOW = int(sys.argv[1]) if sys.argv[1:] else 200_000_000
STEP = 1_000_000
#: Known numbers of primes below these limits.
KNOWN = {10_000_000: 664_579, 100_000_000: 5_761_455, 200_000_000: 11_078_937}


def count_primes(first: int, last: int) -> int:
    """How many primes there are from `first` up to, not including, `last`."""
    is_prime = bytearray([1]) * (last - first)
    for factor in range(2, int((last - 1) ** 0.5) + 1):
        begin = max(factor * factor, -(-first // factor) * factor)
        is_prime[begin - first :: factor] = bytes(
            len(range(begin, last, factor))
        )
    return sum(is_prime) - sum(1 for number in (0, 1) if first <= number < last)


@contextlib.contextmanager
def node(name: str, secret_file: str, directory: str) -> Iterator[str]:
    """A `gdispy-node` on this machine, as 'host:port'; ended afterwards."""
    program = Path(sys.executable).with_name("gdispy-node")
    command = [sys.executable, str(program), "--daemon", "--name", name]
    command += ["--ip_addr", "127.0.0.1", "--node_port", "0", "--cpus", "1"]
    command += ["--secret-file", secret_file, "--dest_path_prefix", directory]
    log = open(Path(directory) / f"{name}.log", "w")
    with (
        log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            ready = process.stdout.readline().split()
            if not ready:
                sys.exit(
                    f"{name} could not start:\n{Path(log.name).read_text()}"
                )
            yield ready[1]
        finally:
            process.terminate()


def main() -> None:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        secret_file = Path(directory) / "secret"
        secret_file.touch(mode=0o600)
        secret_file.write_text(gdispy.generate_secret())
        names = ("first-node", "second-node")
        nodes = [
            stack.enter_context(node(name, str(secret_file), directory))
            for name in names
        ]
        print(f"Two nodes are ready: {nodes[0]} and {nodes[1]}.")
        print(
            f"Counting the primes below {BELOW:,} in {BELOW // STEP} jobs ..."
        )
        with gdispy.JobCluster(
            count_primes, nodes=nodes, secret_file=str(secret_file)
        ) as cluster:
            jobs = [
                cluster.submit(first, first + STEP)
                for first in range(0, BELOW, STEP)
            ]
            found = 0
            for job in tqdm(jobs, unit="job"):
                count = job()
                if job.exception:
                    sys.exit(job.exception)
                found += count
            cluster.print_status()
    known = KNOWN.get(BELOW, found)
    verdict = "right" if found == known else "WRONG"
    print(f"\nThere are {found:,} primes below {BELOW:,}: {verdict}.")
    sys.exit(found != known)


if __name__ == "__main__":
    main()
