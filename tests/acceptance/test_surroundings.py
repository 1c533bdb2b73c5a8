"""What surrounds a program and a node: its directory, its environment, its standard files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import SCRIPTS
from tests.support.waiting import eventually

PROGRAM = """
import gdispy, sys
def double(n): return 2 * n
if __name__ == "__main__":
    with gdispy.JobCluster(double, nodes=["local"]) as cluster:
        print(cluster.submit(21)(), flush=True)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "program.py"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with files that are called as modules of Python, and say so where they are run."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("random", "socket", "select", "signal", "psutil", "gevent", "msgpack", "dill", "runpy"):
        (folder / f"{name}.py").write_text("import sys\nsys.stderr.write('RUN ' + __name__)\n")
    return folder


def run(*words: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options["env"] = {**os.environb, **options.pop("env", {})}
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, timeout=60, **options)


def test_files_of_the_working_directory_are_none_of_a_local_nodes(program: Path, here: Path) -> None:
    done = run(program, cwd=here)
    assert (done.stdout, done.stderr) == (b"42\n", b"")


@pytest.fixture
def node(here: Path, secret_file: str, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A node that is started in that directory, with what the test wants of it."""
    how, environment, options = request.param
    words = ["-i", "127.0.0.1", "-p", "0", "-c", "1", "--daemon", "--dest_path_prefix", here.parent / "prefix"]
    words += ["--secret-file", secret_file]
    command = [sys.executable, *([SCRIPTS / "gdispy-node"] if how == "script" else ["-m", "gdispy.dispynode"])]
    with open(here.parent / "log", "wb") as log:
        made = subprocess.Popen(
            [*map(str, command), *map(str, words)],
            cwd=here,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=log,
            **options,
        )
    yield made
    made.send_signal(signal.SIGTERM)
    try:
        made.wait(20)
    finally:
        made.kill()
        made.wait()
        assert made.stdout is not None
        made.stdout.close()


@pytest.mark.parametrize(
    "node",
    [
        pytest.param(("script", {}, {}), id="script"),
        pytest.param(("script", {"PYTHONPATH": ":/nowhere"}, {}), id="empty entry of PYTHONPATH"),
        pytest.param(("script", {}, {"preexec_fn": lambda: os.close(0)}), id="standard input closed"),
    ],
    indirect=True,
)
def test_files_of_the_working_directory_are_none_of_a_nodes(
    node: subprocess.Popen[bytes], program: Path, here: Path, secret_file: str
) -> None:
    assert node.stdout is not None
    place = node.stdout.readline().decode().split()[1]
    text = program.read_text().replace('["local"]', f'["{place}"], secret_file={secret_file!r}')
    program.write_text(text)
    done = run(program, cwd=program.parent)
    assert (done.stdout, done.stderr) == (b"42\n", b"")
    log = here.parent / "log"
    eventually(lambda: "disconnected" in log.read_text())
    assert "RUN" not in log.read_text()


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1, 2)])
def test_a_program_whose_standard_files_are_closed_has_its_local_node(
    program: Path, tmp_path: Path, closed: tuple[int, ...]
) -> None:
    result = tmp_path / "result"
    program.write_text(
        program.read_text()
        .replace("print(", f"print(file=open({str(result)!r}, 'w'), *(")
        .replace(", flush=True)", ",))")
    )

    def close() -> None:
        for fd in closed:
            os.close(fd)

    done = run(program, preexec_fn=close)
    assert done.returncode == 0, done.stderr
    assert result.read_text() == "42\n"


def test_a_directory_for_temporary_files_may_have_any_name(program: Path, tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(folder)
    text = program.read_text().replace('nodes=["local"]', 'nodes=["local"], job_directory=True')
    program.write_text(text)
    done = run(program, env={b"TMPDIR": folder})
    assert (done.stdout, done.stderr) == (b"42\n", b"")


def test_warnings_that_are_errors_are_not_told_of_gdispys_own_processes(program: Path) -> None:
    done = run(program, env={b"PYTHONWARNINGS": b"error"})
    assert (done.stdout, done.stderr) == (b"42\n", b"")


def test_what_is_no_file_in_a_package_is_left_out_and_told(program: Path, tmp_path: Path) -> None:
    package = program.parent / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("NUMBER = 42\n")
    os.mkfifo(package / "pipe")
    (package / "nowhere").symlink_to(tmp_path / "is not there")
    text = "import gdispy, pack\ndef number(): return pack.NUMBER\n"
    text += "with gdispy.JobCluster(number, nodes=['local'], depends=[pack]) as cluster: print(cluster.submit()())\n"
    program.write_text(text)
    done = run(program)
    assert done.stdout == b"42\n"
    told = done.stderr.decode()
    assert f"{package / 'pipe'} is left out: it is a named pipe\n" in told
    assert f"{package / 'nowhere'} is left out: it is a broken link\n" in told
