"""Fixtures of all rings. Whatever a test starts, its fixture ends, also when the test fails."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdispy import generate_secret
from tests.support.daemons import Daemon
from tests.support.other_pythons import NEEDED, candidates, made, named, version

# Discovery stays on this machine, in this process and in all that the tests start.
os.environ["GDISPY_IP_ADDR"] = "127.0.0.1"
os.environ.pop("GDISPY_SECRET", None)
os.environ.pop("GDISPY_SECRET_FILE", None)


# A shell that runs the tests in the background has them ignore SIGINT, and nohup SIGHUP, and what they start would
# inherit that.
with contextlib.suppress(ValueError):  # Only the main thread can say so, and as a rule this is it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

#: Names this process among those that run tests at the same time, in the environment of all that it starts.
os.environ["GDISPY_TEST_RUN"] = f"run{os.getpid()}"

#: What is run in one process, one test after the other, where two share the work (`make test`).
_TOGETHER = {"integration": "first", "chaos": "first"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        ring = Path(item.path).relative_to(Path(__file__).parent).parts[0]
        item.add_marker(pytest.mark.xdist_group(_TOGETHER.get(ring, "second")))


@pytest.fixture(scope="session", autouse=True)
def own_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Key files, journals and computations' files go where nothing real of this user looks."""
    before = {name: os.environ.get(name) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME")}
    for name in before:
        os.environ[name] = str(tmp_path_factory.mktemp("own"))
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the secret that the nodes of the tests share."""
    path = tmp_path_factory.mktemp("secret") / "secret"
    path.touch(0o600)
    path.write_text(generate_secret())
    return str(path)


@pytest.fixture
def start_node(tmp_path: Path, secret_file: str) -> Iterator[Callable[..., Daemon]]:
    """Starts nodes on free ports of the loopback interface; ends them after the test."""
    started: list[Daemon] = []

    def start(*options: str, secret: str = secret_file, env: dict[str, str] | None = None) -> Daemon:
        prefix = tmp_path / f"prefix{len(started)}"
        words = ["--dest_path_prefix", str(prefix), *options]
        if secret:
            words += ["--secret-file", secret]
        daemon = Daemon(tmp_path, *words, env=env)
        started.append(daemon)
        return daemon

    yield start
    _stop(started)


@pytest.fixture
def start_scheduler(tmp_path: Path, secret_file: str) -> Iterator[Callable[..., Daemon]]:
    """Starts shared schedulers on free ports of the loopback interface; ends them after the test."""
    started: list[Daemon] = []

    def start(*options: str, secret: str = secret_file) -> Daemon:
        words = [*options, *(["--secret-file", secret] if secret else [])]
        daemon = Daemon(tmp_path, *words, script="gdispy-scheduler")
        started.append(daemon)
        return daemon

    yield start
    _stop(started)


def _stop(started: list[Daemon]) -> None:
    failures = []
    for daemon in started:
        try:
            daemon.stop()
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[0]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, secret_file: str) -> Iterator[Daemon]:
    """One node with two CPUs for all tests of a module."""
    directory = tmp_path_factory.mktemp("node")
    daemon = Daemon(
        directory, "--cpus", "2", "--dest_path_prefix", str(directory / "prefix"), "--secret-file", secret_file
    )
    yield daemon
    daemon.stop()


@pytest.fixture(scope="session")
def python_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """Finds, or makes, an interpreter of Python 3.x that can run a node; skips the test where there is none."""

    @functools.cache
    def find(minor: int) -> tuple[str, str]:
        found = candidates(minor)
        for path in found:
            if version(path, NEEDED) == minor:
                return path, ""
        for path in found:
            if os.environ.get("CI") or path in named():
                return made(path, tmp_path_factory.mktemp(f"python3.{minor}"))
        return "", f"Python 3.{minor} lacks what gdispy depends on" if found else f"no Python 3.{minor} was found"

    def find_or_skip(minor: int) -> str:
        path, reason = find(minor)
        if not path:
            pytest.skip(reason)
        return path

    return find_or_skip
