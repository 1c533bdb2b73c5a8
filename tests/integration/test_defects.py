"""gdispy itself fails: that is said, and nobody waits for what will not come."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster, SharedJobCluster
from gdispy.errors import InternalError
from gdispy.records import read
from tests.support.jobs import wait_for_go
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]

#: Seconds until a test gives up.
LIMIT = 20


def say_and_wait(name: str) -> str:
    print("here")
    return wait_for_go(name)


def fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("planted")


def break_the_schedulers_rules(made: JobCluster, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(made._scheduler.rules, "receive_from_client", fail)


def break_the_clients_rules(made: JobCluster, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(made._session, "submit", fail)


def break_what_the_client_does(made: JobCluster, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(made._table, "_printed", fail)


@pytest.mark.parametrize(
    "plant",
    [break_the_schedulers_rules, break_the_clients_rules, break_what_the_client_does],
    ids=lambda each: each.__name__,
)
def test_all_who_wait_are_told(
    cluster: Make,
    plant: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = cluster(say_and_wait, fault_recover=str(tmp_path / "recover"))
    begun = made.submit(str(tmp_path / "a"))
    eventually(lambda: begun.status == DispyJob.Running)
    plant(made, monkeypatch)
    later = made.submit(str(tmp_path / "b"))
    (tmp_path / "a.go").touch()
    (tmp_path / "b.go").touch()
    for job in (begun, later):
        assert job.wait(LIMIT)
        assert job.status == DispyJob.Abandoned
        assert "gdispy itself has failed" in job.exception and "planted" in job.exception
    assert made.wait(LIMIT)
    with pytest.raises(InternalError, match="gdispy itself has failed"):
        made.submit("c")
    assert "planted" in str(made.status().problems)
    assert made.close(timeout=LIMIT)
    assert "a defect" in caplog.text and "planted" in caplog.text
    # What became of them may be found by the next life of the program.
    assert len(next(iter(read(str(tmp_path / "recover")).remembered.stories.values())).jobs) == 2


SCHEDULER = """
import gevent.events, gevent.monkey
gevent.monkey.patch_all(subprocess=False, os=False, signal=False)
import sys
from gdispy.cli import scheduler_main
from gdispy.core.dispatch import Dispatch
from gdispy.core.messages import Run

def fail(*_):
    raise ZeroDivisionError("planted")

Dispatch._CLIENT_HANDLERS[Run] = fail
sys.exit(scheduler_main())
"""


def test_a_shared_scheduler_ends_so_that_it_is_started_again(secret_file: str, tmp_path: Path) -> None:
    words = ("-i", "127.0.0.1", "-p", "0", "--secret-file", secret_file)
    log = tmp_path / "log"
    with open(log, "w") as file:
        scheduler = subprocess.Popen(
            [sys.executable, "-c", SCHEDULER, *words], stdout=subprocess.PIPE, stderr=file, text=True
        )
    try:
        assert scheduler.stdout is not None
        host, port = scheduler.stdout.readline().split()[1].rsplit(":", 1)
        made = SharedJobCluster(abs, scheduler_node=host, scheduler_port=int(port), secret_file=secret_file)
        made.submit(-1)
        assert scheduler.wait(LIMIT) not in (0, None)
        assert "a defect" in log.read_text() and "planted" in log.read_text()
        made.close(timeout=0, terminate=True)
    finally:
        scheduler.kill()
        scheduler.wait()
        scheduler.stdout.close()
