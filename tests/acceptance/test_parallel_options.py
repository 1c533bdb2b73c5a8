"""The options of `gdispy` that users of GNU parallel and xargs know, with the real command and jobs on this machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.daemons import SCRIPTS, ended, run_script
from tests.support.waiting import eventually


def gdispy(*words: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    return run_script("gdispy", "--local", *words, **options)


def log_rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()[1:]]


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_arguments_come_from_the_command_line_and_stay_whole() -> None:
    done = gdispy("printf", "%s:%s:%s\n", "{1}", "{2}", "{#}", ":::", "a b", "*", ":::", "1", "$HOME")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == ["a b:1:1", "a b:$HOME:2", "*:1:3", "*:$HOME:4"]


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["-a", "-", "echo"], b"a b\nc\n"),
        (["-0", "-a", "-", "echo"], b"a b\0c\0"),
        (["echo", "{}"], b"a b\nc\n"),
        (["echo", "::::", "-"], b"a b\nc"),
    ],
)
def test_arguments_come_from_standard_input_where_it_is_asked_for(words: list[str], given: bytes) -> None:
    done = gdispy(*words, input=given)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a b\nc\n", b"")


def test_standard_input_is_not_read_otherwise() -> None:
    for given in (b"", b"a\nb\n"):
        done = gdispy("echo", "one", input=given)
        assert (done.returncode, done.stdout) == (0, b"one\n")


def test_jobs_begin_before_standard_input_ends() -> None:
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", "-a", "-", "echo"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ended(process):
        assert process.stdin is not None and process.stdout is not None
        for text in (b"first\n", b"second\n"):
            process.stdin.write(text)
            process.stdin.flush()
            assert process.stdout.readline() == text
        process.stdin.close()
        assert process.wait(30) == 0


def test_no_arguments_are_no_jobs() -> None:
    done = gdispy("echo", ":::")
    assert (done.returncode, done.stdout) == (0, b"") and done.stderr == b"gdispy: there are no arguments, so no jobs\n"
    for count in ("+0", "100%"):
        assert gdispy("-j", count, "echo", ":::", "1").stdout == b"1\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["-j", "50%"],
            b"-j must be at least 1, a number of jobs on all nodes together, not '50%'; without -j, one runs",
        ),
        (["-j", "0"], b"together, not '0'"),
        (["-j", "-1"], b"together, not '-1'"),
        (["-j-1"], b"together, not '-1'"),
        (["--jobs", "-2"], b"together, not '-2'"),
        (["-N", "-1"], b"-N (--max-args) must be at least 0, not -1"),
        (["--timeout", "-5s"], b"--timeout '-5s' is not a time"),
        (["--retries", "-1"], b"--retries must be at least 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused(words: list[str], told: bytes) -> None:
    done = gdispy(*words, "echo", ":::", "1")
    assert done.returncode == 2 and told in done.stderr


def test_three_hundred_files_some_of_which_fail_at_first(tmp_path: Path) -> None:
    """Each job gets its file, is tried again, and leaves its output and status in a folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "tried").mkdir()
    for number in range(300):
        (tmp_path / "data" / f"file {number:03}.txt").write_text("line\n" * number)
    tried = shlex.quote(str(tmp_path / "tried"))
    count = program(
        tmp_path / "count",
        f'name=$(basename "$1" .txt)\n'
        f'case $name in *7) if [ ! -e {tried}/"$name" ]; then touch {tried}/"$name"; echo no; exit 3; fi;; esac\n'
        f'wc -l < "$1"',
    )
    names = sorted(path.relative_to(tmp_path) for path in (tmp_path / "data").iterdir())
    words = ["--retries", "2", "--results", "out", "--joblog", "log", "-f", "{}", count, ":::", *names]
    done = gdispy(*words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [int(line) for line in done.stdout.split()] == list(range(300))
    assert len(log_rows(tmp_path / "log")) == 300
    for number in range(300):
        folder = tmp_path / "out" / str(number + 1)
        assert {path.name for path in folder.iterdir()} == {"stdout", "stderr", "status", "arguments"}
        assert int((folder / "stdout").read_text()) == number
        assert (folder / "arguments").read_text() == f"'data/file {number:03}.txt'\n"
        status = (folder / "status").read_text().splitlines()
        assert status[0] == "exit_code 0" and f"attempts {2 if number % 10 == 7 else 1}" in status


def test_failed_jobs_run_again_on_request(tmp_path: Path) -> None:
    text = f"[ -e {shlex.quote(str(tmp_path))}/repaired ] || [ $1 != 2 ]"
    check = program(tmp_path / "check", f"echo ran $1; {text}")
    words = ["--joblog", tmp_path / "log", check, ":::", "1", "2", "3"]
    done = gdispy(*words)
    assert (done.returncode, done.stdout) == (1, b"ran 1\nran 2\nran 3\n")
    done = gdispy("--resume", *words)
    assert (done.returncode, done.stdout) == (1, b"") and b"1 job of the log failed in a previous run" in done.stderr
    assert gdispy("--resume-failed", *words).stdout == b"ran 2\n"
    (tmp_path / "repaired").touch()
    done = gdispy("--resume-failed", *words)
    assert (done.returncode, done.stdout) == (0, b"ran 2\n")
    assert gdispy("--resume-failed", *words).stdout == b""
    done = gdispy("--resume", *words[:-1], "4")
    assert done.returncode == 2 and b"under this number" in done.stderr


def test_command_that_was_killed_continues(tmp_path: Path) -> None:
    ran = shlex.quote(str(tmp_path / "ran"))
    slow = program(tmp_path / "slow", f"sleep .05; echo $1 >> {ran}; echo $1")
    words = ["--joblog", str(tmp_path / "log"), str(slow), ":::", *map(str, range(100))]
    process = subprocess.Popen([sys.executable, str(SCRIPTS / "gdispy"), "--local", *words], stdout=subprocess.DEVNULL)
    with ended(process):
        eventually(lambda: (tmp_path / "log").exists() and len(log_rows(tmp_path / "log")) >= 20)
        process.kill()
        process.wait(10)
    logged = {int(row[0]) for row in log_rows(tmp_path / "log") if len(row) == 9}
    assert 20 <= len(logged) < 100
    with open(tmp_path / "log", "ab") as file:
        file.write(b"77\t127.0")  # As if it was killed while it wrote.
    done = gdispy("--resume", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [int(line) for line in done.stdout.split()] == [each for each in range(100) if each + 1 not in logged]
    assert sorted(int(row[0]) for row in log_rows(tmp_path / "log")) == list(range(1, 101))
    # Only jobs that were running when it was killed have run twice.
    times = (tmp_path / "ran").read_text().split()
    assert {*map(int, times)} == {*range(100)} and len(times) <= 100 + 2 * (os.cpu_count() or 1) + 4


def test_ctrl_c_ends_it_and_the_log_is_complete(tmp_path: Path) -> None:
    wait = program(tmp_path / "wait", '[ $1 -lt 3 ] || exec sleep 60; echo "$1"')
    words = ["--joblog", str(tmp_path / "log"), str(wait), ":::", "1", "2", "3", "4", "5"]
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ended(process):
        eventually(lambda: (tmp_path / "log").exists() and len(log_rows(tmp_path / "log")) == 2)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=20)
    assert process.returncode == 130 and b"interrupted" in told and out == b"1\n2\n"
    assert time.monotonic() - began < 8 and len(log_rows(tmp_path / "log")) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_prints_and_logs_what_waits_for_its_turn(number: int, tmp_path: Path) -> None:
    run = program(tmp_path / "run", f'touch {shlex.quote(str(tmp_path))}/ran$1; [ $1 != 1 ] || sleep 60; echo "$1"')
    words = ["--joblog", str(tmp_path / "log"), "-j", "2", "--bar", str(run), ":::", *map(str, range(1, 6)), "1"]
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", *words]
    with open(tmp_path / "shown", "wb") as shown:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=shown)
    with ended(process):
        eventually(lambda: b"4/6" in (tmp_path / "shown").read_bytes(), 30, "the jobs do not end")
        assert log_rows(tmp_path / "log") == []
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (128 + number, b"2\n3\n4\n5\n")
    name = "interrupted" if number == signal.SIGINT else f"{signal.Signals(number).name} received"
    assert f"gdispy: {name}; terminating the running jobs\n" in (tmp_path / "shown").read_text()
    assert [row[0] for row in log_rows(tmp_path / "log")] == ["2", "3", "4", "5"]


def test_output_that_was_not_printed_is_not_in_the_log(tmp_path: Path) -> None:
    run = program(tmp_path / "run", f'touch {shlex.quote(str(tmp_path))}/ran$1; [ $1 != 1 ] || sleep 60; echo "$1"')
    words = ["--joblog", str(tmp_path / "log"), "-j", "2", str(run), ":::", "1", "2", "3"]
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    with ended(process):
        eventually((tmp_path / "ran3").exists)
        process.kill()
        assert process.communicate(timeout=20)[0] == b"" and log_rows(tmp_path / "log") == []
    program(tmp_path / "run", 'echo "$1"')
    assert gdispy("--resume", *words).stdout == b"1\n2\n3\n"


def test_a_job_whose_output_nobody_reads_is_not_in_the_log(tmp_path: Path) -> None:
    words = ["--local", "--joblog", str(tmp_path / "log"), "-j", "1", "seq", ":::", "1", "200000", "3"]
    command = [sys.executable, str(SCRIPTS / "gdispy"), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ended(process):
        assert process.stdout is not None and process.stdout.read(2) == b"1\n"
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr is not None and b"closed before all output was written" in process.stderr.read()
    assert [row[0] for row in log_rows(tmp_path / "log")] == ["1"]


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    stay = program(tmp_path / "stay", f"trap '' INT TERM; touch {shlex.quote(str(tmp_path))}/ran; sleep 60; sleep 60")
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", str(stay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ended(process):
        eventually((tmp_path / "ran").exists)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None and b"interrupted" in process.stderr.readline()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130 and time.monotonic() - began < 2
        assert b"ended at once" in process.stderr.readline()


def test_ctrl_c_before_the_first_argument_ends_it() -> None:
    command = [sys.executable, str(SCRIPTS / "gdispy"), "-d", "--local", "-a", "-", "echo"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ended(process):
        eventually(lambda: b"pipe" in os.readlink(f"/proc/{process.pid}/fd/0").encode() and waits(process.pid))
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None and process.stderr.read() == b""


def waits(pid: int) -> bool:
    """Whether the command sleeps between two looks at its input."""
    return b"nanosleep" in Path(f"/proc/{pid}/wchan").read_bytes()


@pytest.mark.parametrize(
    ("rule", "arguments", "code", "out"),
    [
        ("soon,fail=1", ["0", "x", "0", "0", "0", "0", "0", "0"], 1, None),
        ("now,fail=1", ["30", "x", "30"], 1, b""),
        ("now,success=1", ["30", ".2", "30"], 0, b".2\n"),
        ("never", ["x", "0"], 1, b"0\n"),
    ],
)
def test_halt_starts_no_more_jobs(rule: str, arguments: list[str], code: int, out: bytes | None) -> None:
    began = time.monotonic()
    done = gdispy("--halt", rule, "sh", "-c", 'sleep "$1" && echo "$1"', "sh", ":::", *arguments)
    assert done.returncode == code and time.monotonic() - began < 20
    if out is None:
        assert 1 <= done.stdout.count(b"\n") <= 1 + (os.cpu_count() or 1)
    else:
        assert done.stdout == out
    assert (b"no more jobs are started" in done.stderr) is (rule != "never")


def test_time_limit_and_signal_are_failures(tmp_path: Path) -> None:
    words = ["sh", "-c", "case $1 in slow) exec sleep 60;; *) kill -9 $$;; esac", "sh", ":::", "slow", "killed"]
    done = gdispy("--timeout", ".5s", "--joblog", tmp_path / "log", "--results", tmp_path / "out", *words)
    assert done.returncode == 1 and b"took longer than its limit" in done.stderr
    rows = {row[0]: row[6:8] for row in log_rows(tmp_path / "log")}
    assert rows["1"] != ["0", "0"] and rows["2"] == ["0", "9"]
    assert (tmp_path / "out/2/status").read_text().startswith("exit_code none\nsignal 9\n")


def test_output_may_be_printed_as_jobs_end() -> None:
    words = ["sh", "-c", 'sleep $1; echo "$1"', "sh", ":::", "2", "0"]
    assert gdispy("--keep-order", *words).stdout == b"2\n0\n"
    if (os.cpu_count() or 1) > 1:
        assert gdispy("--no-keep-order", *words).stdout == b"0\n2\n"


def test_output_is_tagged_or_json() -> None:
    words = ["sh", "-c", 'echo out; echo err >&2; printf "$1"; exit $2', "sh", ":::", "a b", ":::", "0", "3"]
    done = gdispy("--tag", *words)
    assert done.stdout == b"a b 0\tout\na b 0\ta ba b 3\tout\na b 3\ta b" and done.returncode == 1
    assert b"a b 0\terr\n" in done.stderr and b"job 2 ('a b' 3): exit code 3" in done.stderr
    done = gdispy("--json", *words)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1 and done.stderr == b""
    assert [(row["number"], row["exit_code"], row["error"]) for row in rows] == [(1, 0, ""), (2, 3, "exit code 3")]
    assert rows[0]["arguments"] == ["a b", "0"] and rows[0]["command"] == [*words[:4], "a b", "0"]
    assert (rows[0]["stdout"], rows[0]["stderr"], rows[0]["host"]) == ("out\na b", "err\n", "127.0.0.1")


def test_dry_run_prints_command_lines_and_contacts_nothing(tmp_path: Path) -> None:
    done = run_script("gdispy", "--dry-run", "--results", tmp_path / "out", "/no/such", "x {}", ":::", "a b", "c")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"/no/such 'x a b'\n/no/such 'x c'\n", b"")
    assert not (tmp_path / "out").exists()


def test_random_order_keeps_the_numbers(tmp_path: Path) -> None:
    numbers = [str(number) for number in range(1, 41)]
    done = gdispy("--shuf", "--joblog", tmp_path / "log", "echo", "{#}", "{}", ":::", *numbers)
    lines = done.stdout.decode().splitlines()
    assert sorted(lines) == sorted(f"{number} {number}" for number in numbers)
    assert lines != [f"{number} {number}" for number in numbers]


def test_thousands_of_jobs_are_read_as_they_run() -> None:
    given = "\n".join(map(str, range(3000))).encode()
    done = gdispy("-a", "-", "-j", "50", "echo", input=given)
    assert done.returncode == 0 and done.stdout.split() == given.split()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["echo", "{3}", ":::", "a", ":::", "b"], "{3} stands for an argument of source 3, but there are only 2"),
        (["--resume", "echo", ":::", "a"], "--resume needs --joblog"),
        (["--resume-failed", "echo", ":::", "a"], "--resume-failed needs --joblog"),
        (["-a", "@/no/such", "echo"], "the file of arguments '/no/such' cannot be read: No such file or directory"),
        (["echo", "::::", "/no/such"], "'/no/such' cannot be read"),
        (["--halt", "now,fail=101%", "echo"], "at most 100"),
        (["--halt", "sometimes", "echo"], "--halt 'sometimes' is invalid"),
        (["--timeout", "soon", "echo"], "--timeout 'soon' is not a time"),
        (["--retries", "0", "echo"], "--retries must be at least 1"),
        (["-j", "0", "echo"], "-j must be at least 1"),
        (["--json", "--tag", "echo"], "--json and --tag cannot be combined"),
        (["--null", "echo", ":::", "a"], "--null (-0) is for arguments from a file"),
        (["-a", "-", "echo", "::::", "-"], "only one source"),
        (["-a", "-", "--secret-file", "-", "echo"], "both the secret"),
        ([":::", "a"], "the program is missing"),
        (["{}", ":::", "a"], "cannot contain a template"),
        (["--results", "/dev/null", "echo"], "--results /dev/null"),
        (["--joblog", "/no/such/log", "echo"], "--joblog /no/such/log cannot be written"),
    ],
)
def test_bad_input_is_named_with_status_2(words: list[str], told: str) -> None:
    done = gdispy(*words)
    assert done.returncode == 2 and done.stdout == b""
    assert told in done.stderr.decode() and len(done.stderr.splitlines()) == 1


def test_file_of_one_job_that_is_missing_fails_that_job_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a\n")
    done = gdispy("-f", "{}", "cat", ":::", "a", "missing", "a", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"a\na\n")
    assert b"job 2 (missing): " in done.stderr and b"does not exist" in done.stderr


@pytest.mark.parametrize("name", ["", "nodes", "gdispy-node", "help"])
def test_help_of_each_command_is_shown(name: str) -> None:
    done = run_script("gdispy", "help", *name.split())
    assert done.returncode == 0 and done.stdout.startswith(b"usage: ") and name.encode() in done.stdout


def test_help_of_an_unknown_command_suggests_others() -> None:
    done = run_script("gdispy", "help", "nods")
    assert (done.returncode, done.stderr) == (2, b"gdispy help: unknown command 'nods'; did you mean 'nodes'?\n")


# Several arguments in a job, columns, slots


def test_jobs_get_several_arguments() -> None:
    done = gdispy("-N", "2", "echo", "{2}", "{1}", input=b"a\nb c\nd\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"b c a\n d\n", b"")
    done = gdispy("-N", "0", "echo", "again", ":::", "1", "2")
    assert (done.returncode, done.stdout) == (0, b"again\nagain\n")


def test_arguments_are_packed_into_few_jobs(tmp_path: Path) -> None:
    """Evenly, if their number is known, as it is in a file; else as many as fit."""
    names = [f"{number}.txt" for number in range(500)]
    for name in names:
        (tmp_path / name).write_text("line\n")
    (tmp_path / "names").write_text("\n".join(names))
    counted = program(tmp_path / "count", "echo $# $(cat *.txt | wc -l)")
    done = gdispy("-j", "3", "-X", "-a", "@names", "-f", "{}", counted, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"167 167\n167 167\n166 166\n"
    long = b"".join(b"%01000d\n" % number for number in range(300))
    done = gdispy("-j", "3", "-X", "-a", "-", counted, input=long, cwd=tmp_path)
    assert done.returncode == 0 and [int(line.split()[0]) for line in done.stdout.splitlines()] == [130, 130, 40]


def test_columns_of_a_table_have_numbers_and_names(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("who\thow many\nx y\t1\nz\t2\n")
    done = gdispy("--colsep", "\t", "--header", ":", "-a", "@t.tsv", "echo", "{how many}:{who}", "{2}", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1:x y 1\n2:z 2\n", b"")


def test_jobs_that_run_at_the_same_time_have_different_slots(tmp_path: Path) -> None:
    """Each job takes the lock of its slot, which must be free."""
    held = f"{shlex.quote(str(tmp_path))}/$1"
    lock = program(tmp_path / "lock", f"mkdir {held} && sleep .01 && rmdir {held} && echo $1")
    words = ["-j", "2", "--joblog", "log", lock, "slot{%}", "{}", ":::", *map(str, range(30))]
    done = gdispy(*words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"") and {*done.stdout.split()} == {b"slot1", b"slot2"}
    assert gdispy("--resume", *words, cwd=tmp_path).stdout == b""


def test_packed_jobs_are_resumed(tmp_path: Path) -> None:
    words = ["-N", "2", "--joblog", "log", "echo", ":::", "1", "2", "3"]
    assert gdispy(*words, cwd=tmp_path).stdout == b"1 2\n3\n"
    assert gdispy("--resume", *words, cwd=tmp_path).stdout == b""
    assert gdispy("--resume", *words, "4", cwd=tmp_path).returncode == 2


# Programs that are ended


@pytest.mark.parametrize(
    "text",
    ["trap '' INT; while :; do sleep .1; done", "sleep 60; echo no", "sleep 60 & wait; echo no"],
    ids=["ignores the interrupt", "waits for a process", "waits in the background"],
)
def test_time_limit_ends_a_program_soon(text: str, tmp_path: Path) -> None:
    """And not after the 3 seconds that a program has which handles the interrupt."""
    script = program(tmp_path / "slow", text)
    script.write_text(script.read_text().replace("#!/bin/sh", "#!/bin/bash"))
    done = gdispy("--timeout", ".3", "--json", "--joblog", "log", script, cwd=tmp_path)
    assert log_rows(tmp_path / "log")[0][6] == "-1"
    row = json.loads(done.stdout)
    assert done.returncode == 1 and "no\n" not in row["stdout"] and row["seconds"] < 2.5


def test_program_that_handles_the_interrupt_has_time_for_it(tmp_path: Path) -> None:
    script = program(tmp_path / "saves", "trap 'sleep .2; echo saved; exit 0' INT; while :; do sleep .05; done")
    done = gdispy("--timeout", ".5", "--json", script, cwd=tmp_path)
    assert done.returncode == 1 and json.loads(done.stdout)["stdout"] == "saved\n"


# Addresses


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-n", "local:5"], b"'local' is a private node of this program, without a fixed port"),
        (["-n", "999.1.1.1"], b"it is not an IPv4 address: its parts are at most 255"),
        (["--local", "-i", "999.1.1.1"], b"it is not an IPv4 address"),
    ],
)
def test_address_that_cannot_be_is_refused(words: list[str], told: bytes) -> None:
    done = run_script("gdispy", *words, "true")
    assert done.returncode == 2 and told in done.stderr


# Lines of running jobs


def test_lines_are_printed_while_jobs_run(tmp_path: Path) -> None:
    """Each job waits for a file that this test writes when it has read the line of the other."""
    here = shlex.quote(str(tmp_path))
    script = program(
        tmp_path / "talk",
        f'echo "begin $1"; printf "half of $1"; until [ -e {here}/go ]; do sleep .02; done\n'
        'echo " and the rest"; printf end',
    )
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", "-j", "2", "--line-buffer", "--tag", str(script)]
    process = subprocess.Popen([*command, ":::", "a", "b"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ended(process):
        assert process.stdout is not None
        assert {process.stdout.readline() for _ in range(2)} == {b"a\tbegin a\n", b"b\tbegin b\n"}
        (tmp_path / "go").touch()
        rest = process.stdout.read().splitlines()
        assert process.wait(20) == 0
    for each in "ab":
        own = [line for line in rest if line.startswith(f"{each}\t".encode())]
        assert own == [f"{each}\thalf of {each} and the rest".encode(), f"{each}\tend".encode()]
    assert len(rest) == 4


def test_no_line_is_lost_however_fast_they_are() -> None:
    done = gdispy("--line-buffer", "seq", ":::", "400000", "300000")
    lines = [*map(int, done.stdout.split())]
    assert done.returncode == 0 and sorted(lines) == sorted([*range(1, 400001), *range(1, 300001)])
    assert gdispy("--line-buffer", "--json", "true").returncode == 2


def test_lines_of_attempts_that_fail_are_printed_however_short_they_are(tmp_path: Path) -> None:
    here = shlex.quote(str(tmp_path))
    script = program(tmp_path / "try", f"mkdir {here}/first 2>&- && echo first && exit 3; echo second; echo told >&2")
    done = gdispy("--line-buffer", "--retries", "2", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"first\nsecond\n", b"told\n")


# Readers of standard output that have gone


@pytest.mark.parametrize("text", ["exec sleep 60", "echo begun; while :; do echo more; sleep .01; done"])
def test_a_run_whose_output_nobody_reads_ends(text: str, tmp_path: Path) -> None:
    """Although no job ends."""
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", str(program(tmp_path / "run", text))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ended(process):
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == b"gdispy: standard output was closed before all output was written\n"


# Results of a previous run


def test_results_of_a_previous_run_are_mentioned_unless_it_is_continued(tmp_path: Path) -> None:
    words = ["--results", "out", "--joblog", "log", "echo", ":::", "1", "2"]
    assert gdispy(*words, cwd=tmp_path).stderr == b""
    assert gdispy("--resume", *words, "3", cwd=tmp_path).stderr == b""
    assert b"--results out has 3 folders of a previous run" in gdispy(*words, cwd=tmp_path).stderr
    assert (tmp_path / "out" / "3" / "status").exists()
