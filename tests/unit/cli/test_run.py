"""What `gdispy PROGRAM` runs and prints. With nodes: `tests/acceptance/test_command_line.py`."""

from __future__ import annotations

import os
import signal
import tempfile
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.buffers.memory_file import OpenFile
from gdispy.cli import job_output, program_run
from gdispy.cli import run as module
from gdispy.cli.job_outcome import has_failed
from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE, parse
from gdispy.cli.program_run import EndedJobs, JobRecords
from gdispy.cli.run import run_main
from gdispy.cli.run_options import parser
from gdispy.client.status import ClusterStatus
from gdispy.errors import ConfigError, GdispyError
from gdispy.protocol.job_status import ABANDONED, FINISHED, TERMINATED


def job(result: Any = 0, stdout: Any = b"", stderr: Any = b"", exception: str | None = None, **fields: Any) -> Any:
    values: dict[str, Any] = {"status": FINISHED, "submit_time": 10.0, "start_time": 10.0, "end_time": 12.0}
    values |= {"ip_addr": "127.0.0.1", "_tell": lambda wake: wake(), "_number": 1}
    return SimpleNamespace(result=result, stdout=stdout, stderr=stderr, exception=exception, **{**values, **fields})


def running(wake: Any) -> None:
    """The end of a job that does not come."""


class Cluster:
    """A cluster that returns these jobs; `status` as it is set."""

    def __init__(self, *jobs: Any) -> None:
        self.jobs = list(jobs)
        self.submitted: list[tuple[str, ...]] = []
        self.options: list[dict[str, Any]] = []
        self.closed: list[dict[str, Any]] = []
        self.found = ClusterStatus([], 0, [])

    def submit(self, *words: str, **options: Any) -> Any:
        self.submitted.append(words)
        self.options.append(options)
        return self.jobs.pop(0)

    def status(self) -> ClusterStatus:
        return self.found

    def close(self, **how: Any) -> None:
        self.closed.append(how)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class Output:
    """Standard output and error of the command."""

    def __init__(self, capture: pytest.CaptureFixture[bytes]) -> None:
        self._capture = capture

    def read(self) -> tuple[bytes, bytes]:
        found = self._capture.readouterr()
        return found.out, found.err


@pytest.fixture
def output(capsysbinary: pytest.CaptureFixture[bytes]) -> Output:
    return Output(capsysbinary)


def run(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, *words: str) -> int:
    monkeypatch.setattr(module, "_cluster", lambda options, files, received: cluster)
    return run_main([*words, "./program"])


def test_each_a_is_a_job_with_words_as_in_a_shell(monkeypatch: pytest.MonkeyPatch, output: Output) -> None:
    cluster = Cluster(job(), job(), job())
    assert run(monkeypatch, cluster, "-a", "1 'two words'", "-a", "", "-a", "--from x") == 0
    assert cluster.submitted == [("1", "two words"), (), ("--from", "x")]


def test_program_without_arguments_runs_once(monkeypatch: pytest.MonkeyPatch, output: Output) -> None:
    cluster = Cluster(job())
    assert run(monkeypatch, cluster) == 0
    assert cluster.submitted == [()]


def test_quotation_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch, output: Output) -> None:
    cluster = Cluster()
    assert run(monkeypatch, cluster, "-a", "'open") == EXIT_USAGE
    assert output.read()[1] == b'gdispy: -a "\'open" cannot be read: No closing quotation\n'


def test_output_of_jobs_is_printed_unchanged_in_their_order(monkeypatch: pytest.MonkeyPatch, output: Output) -> None:
    cluster = Cluster(job(stdout=b"one\xff\n", stderr=b"warning\x1b\n"), job(stdout=b"two"))
    assert run(monkeypatch, cluster, "-a", "1", "-a", "2") == 0
    assert output.read() == (b"one\xff\ntwo", b"warning\x1b\n")


@pytest.mark.parametrize(
    ("failed", "text"),
    [
        (job(3), "exit code 3"),
        (job(-9, status=TERMINATED, exception="The program was killed by signal 9.\n"), "The program was killed by"),
        (job(None, status=ABANDONED, exception="lost \x1b\n"), r"lost \x1b"),
    ],
)
def test_failed_job_is_named_by_its_number_and_arguments(
    failed: Any, text: str, monkeypatch: pytest.MonkeyPatch, output: Output
) -> None:
    cluster = Cluster(job(), failed, job(stdout=b"last"))
    assert run(monkeypatch, cluster, "-a", "1", "-a", "'two words' x", "-a", "3") == EXIT_FAILED
    out, err = output.read()
    assert out == b"last"
    assert err.decode().startswith(f"gdispy: job 2 ('two words' x): {text}") and err.count(b"\n") == 1


@pytest.mark.parametrize(
    ("each", "expected"), [(job(0), False), (job(1), True), (job(None), True), (job(0, status=TERMINATED), True)]
)
def test_job_of_a_program_succeeds_with_exit_code_0_only(each: Any, expected: bool) -> None:
    assert has_failed(each) is expected


def test_jobs_that_no_node_can_run_are_not_waited_for(monkeypatch: pytest.MonkeyPatch, output: Output) -> None:
    cluster = Cluster(job(_tell=running))
    cluster.found = ClusterStatus([], 1, ["10.0.0.9: the secrets differ"], is_hopeless=True)
    assert run(monkeypatch, cluster) == EXIT_FAILED
    assert output.read()[1].decode() == (
        "gdispy: no node can run the jobs, and no other node is expected.\n  10.0.0.9: the secrets differ\n"
    )
    assert cluster.closed == [{"timeout": 0, "terminate": True}]


def test_jobs_wait_while_a_node_may_appear(monkeypatch: pytest.MonkeyPatch, output: Output) -> None:
    waits = [False, False, True]
    wakes: list[Any] = []

    def wait(ended: Any, limit: float) -> bool:
        if waits.pop(0):
            wakes[0]()
        return not waits

    monkeypatch.setattr(EndedJobs, "wait", wait)
    cluster = Cluster(job(_tell=wakes.append))
    assert run(monkeypatch, cluster) == 0 and waits == []


def test_ctrl_c_terminates_the_jobs(monkeypatch: pytest.MonkeyPatch, output: Output) -> None:
    def interrupted(ended: Any, limit: float) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return False

    monkeypatch.setattr(EndedJobs, "wait", interrupted)
    cluster = Cluster(job(_tell=running))
    assert run(monkeypatch, cluster) == 130
    assert output.read()[1] == b"gdispy: interrupted; terminating the running jobs\n"
    assert cluster.closed == [{"timeout": 0, "terminate": True}]


def test_statistics_go_to_standard_error(monkeypatch: pytest.MonkeyPatch, output: Output) -> None:
    monkeypatch.setattr(program_run.time, "time", lambda: 10.0)
    cluster = Cluster(job(stdout=b"x", end_time=14.0), job(end_time=None))
    assert run(monkeypatch, cluster, "--stats", "-a", "1", "-a", "2") == 0
    out, err = output.read()
    assert out == b"x" and b"wall time: 4.000 sec" in err


def open_file(data: bytes, error: str = "") -> OpenFile:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return OpenFile(os.dup(file.fileno()), len(data), error)


def test_large_output_is_copied_in_steps_and_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_output, "OUTPUT_STEP", 4)
    file = open_file(b"0123456789")
    released: list[None] = []
    monkeypatch.setattr(OpenFile, "release", lambda self: released.append(None))
    assert [bytes(part) for part in job_output.parts(file)] == [b"0123", b"4567", b"89"]
    job_output.release(file)
    assert released == [None]
    monkeypatch.undo()
    file.release()


def test_output_that_could_not_be_stored_is_a_failure_after_what_there_is(
    monkeypatch: pytest.MonkeyPatch, output: Output
) -> None:
    file = open_file(b"begin", "the disk is full")
    cluster = Cluster(job(stdout=file))
    assert run(monkeypatch, cluster) == EXIT_FAILED
    file.release()
    out, err = output.read()
    assert out == b"begin" and err == b"gdispy: job 1 (): its output is incomplete: the disk is full\n"


def cluster_for(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[str, dict[str, Any]]:
    """The class of the cluster for these words, and its parameters."""
    made: list[tuple[str, dict[str, Any]]] = []

    def kind(name: str) -> Any:
        def make(program: str, **parameters: Any) -> Any:
            made.append((name, {"program": program, **parameters}))
            parts = {name: SimpleNamespace(rules=SimpleNamespace()) for name in ("table", "received", "scheduler")}
            return SimpleNamespace(_engine=SimpleNamespace(nodes=SimpleNamespace(all=list), **parts))

        return make

    for name in ("JobCluster", "SharedJobCluster"):
        monkeypatch.setattr(module, name, kind(name))
    records = JobRecords.open("", "", False, str)
    cluster = module._cluster(parse(parser(), [*words, "./program"], verbatim="-a"), [], records)
    assert cluster._engine.table.takes_files and cluster._engine.received.destination == records.files.destination
    return made[0]


@pytest.mark.parametrize(
    ("words", "nodes"),
    [
        ([], ["*"]),
        (["--local"], ["local"]),
        (["-n", "a", "-n", "b:5"], ["a", "b:5"]),
        (["-n", "a", "--local"], ["a", "local"]),
    ],
)
def test_nodes_are_those_named_or_all(words: list[str], nodes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    name, parameters = cluster_for(monkeypatch, *words)
    assert name == "JobCluster" and parameters["nodes"] == nodes and parameters["program"] == "./program"


@pytest.mark.parametrize(("words", "cleanup"), [([], True), (["--keep"], False), (["--dest_path", "d"], False)])
def test_files_are_removed_unless_the_next_run_needs_them(
    words: list[str], cleanup: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster_for(monkeypatch, *words)[1]["cleanup"] is cleanup


def test_program_of_unknown_nodes_can_return_nothing_that_is_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ([], ["--scheduler_node", "lab"]):
        assert cluster_for(monkeypatch, *words)[1]["results"] == "plain"


def test_named_scheduler_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    name, parameters = cluster_for(monkeypatch, "--scheduler-node", "lab:5")
    assert name == "SharedJobCluster" and parameters["scheduler_node"] == "lab:5" and "node_port" not in parameters


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("no such program"), EXIT_USAGE), (GdispyError("x"), EXIT_FAILED), (OSError("x"), EXIT_FAILED)],
)
def test_cluster_that_cannot_be_created_is_a_line_and_a_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, output: Output
) -> None:
    def fail(options: Any, files: list[str], records: JobRecords) -> Any:
        raise error

    monkeypatch.setattr(module, "_cluster", fail)
    assert run_main(["./program"]) == code
    assert output.read()[1] == f"gdispy: {error}\n".encode()
