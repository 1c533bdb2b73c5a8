"""The programs in examples/, as somebody runs them who reads the guide."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.crashing import count_outcomes
from tests.support.daemons import Daemon, run_script
from tests.support.waiting import eventually

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Each example, its arguments, and what its output must hold, as patterns that come in this order.
RUNS = [
    ("first_run.py", ["10000000"], [r"Two nodes are ready", r"664,579 primes below 10,000,000: right"]),
    (
        "values.py",
        [],
        [r"loop: 50 results", r"at 0\.59 .* 53\.3%", r"all 50 have ended", r"50 finished", r"Total job time"],
    ),
    ("executor.py", [], [r"\[100003, 100019, 100043\]", r"91 is divisible by 13", r"ValueError: math domain error"]),
    ("programs.py", [], [r"(?m)^coroutines\.py \d+$", r"(?m)^values\.py \d+$"]),
    ("node_data.py", [], [r"water: 18\.015", r"methane: 16\.043", r"2 jobs on"]),
    ("optimise.py", [], [r"found 0\.00\d+ at \[.*\]; [1-4]\d of 50 jobs were cancelled"]),
    ("own_schedule.py", [], [r"a node with \d+ CPUs is ready", r"(?s)(?=.*size 8: done)(?=.*size 1: done)"]),
    (
        "limits.py",
        [],
        [r"late was here", r"limit of 0\.5 s", r"its limit \(dispy_memory\)", r"wide was here", r"urgent"],
    ),
    ("lab.py", [], [r"\d+ on .* at 127\.0\.0\.1", r"local-\w+ at 127\.0\.0\.1:\d+ has \d+ CPUs"]),
    ("httpd_example.py", [], [r"open http://127\.0\.0\.1:\d+/ in a browser", r"work: 20 of 20 jobs"]),
    ("coroutines.py", [], [r"2: 4, 8\n", r"4: 16, 64", r"failed: TypeError"]),
    (
        "trouble.py",
        [],
        [
            *(r"an exception: ZeroDivisionError", r"an exit: SystemExit: enough", r"a crash: .*SIGSEGV"),
            *(r"no pickle: .* cannot be pickled", r"work: a result", r"about to do work"),
            r"problem: 127\.0\.0\.1:1: no gdispy-node is listening",
        ],
    ),
]


def run_example(name: str, *words: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return done  # type: ignore[no-any-return]


@pytest.mark.parametrize("name, words, expected", RUNS, ids=[name for name, _, _ in RUNS])
def test_it_does_what_the_guide_says(name: str, words: list[str], expected: list[str], tmp_path: Path) -> None:
    printed = run_example(name, *words, cwd=tmp_path).stdout
    rest = printed
    for pattern in expected:
        found = re.search(pattern, rest)
        assert found is not None, f"{pattern!r} does not come next in:\n{printed}"
        rest = rest[found.end() :]


def test_files_come_back(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(5):
        (tmp_path / "data" / f"{number}.txt").write_text("word " * number + "other")
    printed = run_example("files.py", *sorted((tmp_path / "data").iterdir()), cwd=tmp_path).stdout
    assert printed == "15 words in 5 files, 0 failed\n"
    assert (tmp_path / "summary-3.txt").read_text() == "3 word\n1 other\n"


def test_nodes_are_chosen_and_told_what_to_load(start_node: Callable[..., Daemon], secret_file: str) -> None:
    daemon = start_node("--cpus", "2")
    environment = {**os.environ, "GDISPY_SECRET_FILE": secret_file}
    printed = run_example("node_data.py", f"127.0.0.1:{daemon.place[1]}", env=environment).stdout
    assert "water: 18015.000" in printed and "2 jobs on 1 CPUs" in printed
    assert "8 lookups on" in daemon.log.read_text()


def test_a_node_that_runs_already_is_used(node: Daemon, secret_file: str) -> None:
    place = f"127.0.0.1:{node.place[1]}"
    printed = run_example("lab.py", "--secret-file", secret_file, place).stdout
    assert place in printed and printed.count(" at 127.0.0.1\n") == 20


def test_nodes_are_shared(node: Daemon, start_scheduler: Callable[..., Daemon], secret_file: str) -> None:
    scheduler = start_scheduler("-n", f"127.0.0.1:{node.place[1]}")
    environment = {**os.environ, "GDISPY_SECRET_FILE": secret_file}
    printed = run_example("share.py", f"127.0.0.1:{scheduler.place[1]}", env=environment).stdout
    assert "squares: [0, 1, 4, 9, 16" in printed and "lengths: [3, 5, 7]" in printed


def test_a_program_that_is_killed_goes_on_when_it_is_started_again(
    node: Daemon, secret_file: str, tmp_path: Path
) -> None:
    place = f"127.0.0.1:{node.place[1]}"
    environment = {**os.environ, "GDISPY_SECRET_FILE": secret_file}
    command = [sys.executable, str(EXAMPLES / "recover.py"), place]
    file = tmp_path / "simulate.recover"

    def ended() -> int:
        # Not by `gdispy journal`: to start that may take longer than all that the program does.
        return count_outcomes(file) if file.exists() else 0

    killed = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    try:
        assert killed.stdout.readline() == "0 results are there from before\n"
        eventually(lambda: ended() >= 5, 20)
    finally:
        killed.kill()
        killed.wait(10)
        killed.stdout.close()
    assert ended() < 40
    printed = run_example("recover.py", place, cwd=tmp_path, env=environment).stdout
    known, total = re.fullmatch(r"(\d+) results are there from before\nsum: (\d+)\n", printed).groups()  # type: ignore[union-attr]
    assert int(known) >= 5 and int(total) == sum(number * number for number in range(40))
    assert not file.exists()


def test_the_command_runs_the_program_of_the_guide(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"short\nlonger {name}\n")
    words = ["--local", "-f", "a.txt", "-f", "b.txt", "-a", "a.txt", "-a", "b.txt", EXAMPLES / "longest_line.sh"]
    done = run_script("gdispy", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"a.txt 12\nb.txt 12\n"), done.stderr


def test_every_example_is_run_and_says_how() -> None:
    run = {name for name, _, _ in RUNS} | {"files.py", "share.py", "recover.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == run
    for path in EXAMPLES.glob("*.py"):
        assert f"python examples/{path.name}" in path.read_text().split('"""')[1], path.name
