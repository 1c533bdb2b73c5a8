"""`python -m tests.attack --seconds 60 --seed 7 --only floods --json FILE`: attack daemons, and say what came of it.

It starts all that it attacks itself, on the loopback interface, where it can of a network namespace of its own, and
ends all of it. Prints a row for each attack as it ends, then the table; the exit status is 1 where a goal was missed.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.attack.isolation import enter_own_network

if TYPE_CHECKING:
    from tests.attack.report import Row

#: Seconds that an attack takes besides its own time, as a rule.
OVERHEAD = 0.7
#: Attacks of each topic that are made however short the time is.
LEAST_EACH = 2


def main() -> int:
    options = _options()
    is_isolated = enter_own_network()
    os.environ["GDISPY_IP_ADDR"] = "127.0.0.1"
    for name in ("GDISPY_SECRET", "GDISPY_SECRET_FILE"):
        os.environ.pop(name, None)
    faulthandler.register(signal.SIGUSR1)  # Where it is, for whoever thinks that it does not go on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Only now: what is imported from here on may start threads, and those would stay in the other network.
    from tests.attack import report

    print(f"seed {options.seed}, {options.seconds:.0f} s, {_where(is_isolated)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="gdispy-attack-") as directory:
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "TMPDIR"):
            os.environ[name] = str(Path(directory) / name.lower())
            os.mkdir(os.environ[name])
        rows = _run(options, Path(directory), is_isolated)
    print(report.table(rows), flush=True)
    if options.json:
        report.save(Path(options.json), options.seed, rows)
    goals = report.missed(rows)
    print("\n".join(["", f"{len(goals)} goals missed:", *goals]) if goals else "\nall goals are met", flush=True)
    print(f"seed {options.seed}", flush=True)
    return 1 if goals else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.attack", description="Attack daemons that this program starts.")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all attacks together")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    text = "only attacks whose topic, name or target has this in it; several with commas"
    parser.add_argument("--only", default="", help=text)
    parser.add_argument("--json", default="", metavar="FILE", help="write the raw rows there")
    return parser.parse_args()


def _where(is_isolated: bool) -> str:
    if is_isolated:
        return "in a network namespace of its own"
    return "on the loopback interface of this machine: nothing is tried that could leave it"


def _run(options: argparse.Namespace, directory: Path, is_isolated: bool) -> list[Row]:
    from tests.attack.catalogue import every, remaining_time
    from tests.attack.measuring import run_attack
    from tests.attack.site import Site

    attacks = every(options.only, options.seconds, random.Random(options.seed), LEAST_EACH, OVERHEAD)
    rows: list[Row] = []
    until = time.monotonic() + options.seconds
    site = Site(directory)
    try:
        if not site.newcomers.process.start():
            raise RuntimeError(f"newcomers do not start: {site.newcomers.process.log_tail()}")
        for place, attack in enumerate(attacks):
            seconds = remaining_time(attacks[place:], until - time.monotonic(), OVERHEAD)
            seed = f"{options.seed} {attack.topic} {attack.name} {attack.target}"
            row = run_attack(attack, site, seconds, seed, is_isolated)
            print("  ".join(row.cells()), flush=True)
            rows.append(row)
    finally:
        site.close()
    return rows


if __name__ == "__main__":
    sys.exit(main())
