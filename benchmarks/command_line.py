"""Runs per second of `gdispy /bin/true` beside `xargs -P 2 -n 1`, with the same arguments.

    python benchmarks/command_line.py [--runs 3000] [--rounds 3]

The time of a round is that of the whole command, with its start and that of the private node. Rounds alternate, and the
medians are printed. xargs sends nothing, keeps no output and no exit code of a run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ["GDISPY_IP_ADDR"] = "127.0.0.1"

SCRIPT = Path(__file__).parents[1] / "scripts" / "gdispy"
PROGRAM = shutil.which("true") or "/bin/true"


def rate(command: list[str], numbers: bytes) -> float:
    """The runs per second of a command that reads its arguments from standard input."""
    began = time.perf_counter()
    subprocess.run(command, input=numbers, stdout=subprocess.DEVNULL, check=True, timeout=300)
    return numbers.count(b"\n") / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the command line beside xargs.")
    parser.add_argument("--runs", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    numbers = "".join(f"{number}\n" for number in range(options.runs)).encode()
    commands = {
        "gdispy": [sys.executable, str(SCRIPT), "--local", "-a", "-", PROGRAM],
        "xargs": ["xargs", "-P", "2", "-n", "1", PROGRAM],
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            found[name].append(rate(command, numbers))
    for name, rates in found.items():
        spread = f"[{min(rates):.0f}..{max(rates):.0f}]"
        print(f"{name:7} {statistics.median(rates):7.0f} runs/s  {spread}")
    print(f"ratio   {statistics.median(found['gdispy']) / statistics.median(found['xargs']):7.2f}")


if __name__ == "__main__":
    main()
