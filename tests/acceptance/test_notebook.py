"""gdispy in a real Jupyter kernel: outputs, tracebacks of cells, functions defined again, interrupted cells."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from tests.support.waiting import eventually

LIMIT = 60


@pytest.fixture(autouse=True)
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Jupyter's clients make event loops, and never close them."""
    made: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", noted)
    yield
    for loop in made:
        if not loop.is_running():
            loop.close()


def run(*cells: str) -> list[str]:
    """The cells in a new kernel; what each shows: text of its streams, and text and HTML of its value."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=LIMIT, kernel_name="python3").execute()
    return ["\n".join(_texts(cell.outputs)) for cell in notebook.cells]


def _texts(outputs: list[Any]) -> Iterator[str]:
    for output in outputs:
        yield output.get("text", "")
        yield from (output.get("data", {}).get(kind, "") for kind in ("text/plain", "text/html"))


BEGIN = "import gdispy\ndef ratio(a, b):\n    return a / b  # in a cell\n"
CLUSTER = "cluster = gdispy.JobCluster(ratio, nodes='local')\n"


def test_cells_share_a_cluster_and_its_objects_show_themselves() -> None:
    shown = run(
        BEGIN + CLUSTER + "job = cluster.submit(6, 3)\njob()",
        "cluster",
        "job",
        "cluster.status()",
        "await cluster.submit(1, 4)",
        "cluster.close()\ncluster",
    )
    assert shown[0].endswith("2.0\n") and shown[4].endswith("0.25\n")
    assert "<JobCluster ratio: open, 1 node with" in shown[1] and "<table" in shown[1] and "1 ended" in shown[1]
    assert "Finished" in shown[2] and "1 node with" in shown[3] and "closed" in shown[5]


def test_traceback_of_a_job_has_the_line_of_the_cell() -> None:
    shown = run(
        BEGIN + CLUSTER + "job = cluster.submit(1, 0)\njob()\nprint(job.exception)\ncluster.close()",
        "with gdispy.Executor() as executor:\n    print(executor.submit(ratio, 1, 0).exception().__cause__)",
        "try:\n    job.replay()\nexcept ZeroDivisionError as error:\n    print('replayed', error)",
    )
    for text in shown[:2]:
        assert "    return a / b  # in a cell" in text and "ZeroDivisionError: division by zero" in text
    assert "replayed division by zero" in shown[2]


def test_function_that_was_defined_again_is_reported_and_an_executor_uses_it() -> None:
    again = "def ratio(a, b):\n    return -1\n"
    shown = run(
        BEGIN + CLUSTER + "executor = gdispy.Executor()\nprint(executor.submit(ratio, 1, 2).result())",
        again + "print(cluster.submit(1, 2)(), executor.submit(ratio, 1, 2).result())",
        "print(cluster.submit(1, 2)())\ncluster.close()\nexecutor.shutdown()",
    )
    assert "0.5 -1" in shown[1] and "ratio was defined again, but this cluster runs the function" in shown[1]
    assert "0.5" in shown[2] and "defined again" not in shown[2]


def test_echo_appears_in_the_cell() -> None:
    [shown] = run(
        "import gdispy\ndef talk():\n    print('hello from a job')\n"
        "with gdispy.JobCluster(talk, nodes='local', echo=True) as cluster:\n    cluster.submit()\n    cluster.wait()"
    )
    assert "1] hello from a job" in shown


@pytest.fixture
def kernel() -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager, client = start_new_kernel(kernel_name="python3")
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def cell(client: BlockingKernelClient, code: str) -> tuple[str, str]:
    """Run a cell; its status, and what it has printed."""
    printed: list[str] = []

    def take(message: dict[str, Any]) -> None:
        printed.append(message["content"].get("text", ""))

    reply = client.execute_interactive(code, timeout=LIMIT, output_hook=take)
    return reply["content"]["status"], "".join(printed)


def test_calls_of_an_interrupted_cell_are_cancelled_and_those_before_it_are_not(
    kernel: tuple[KernelManager, BlockingKernelClient], tmp_path: Path
) -> None:
    manager, client = kernel
    code = f"""
import gdispy, os, time
def wait_for(name):
    open(os.path.join({str(tmp_path)!r}, 'began-' + name), 'w').close()
    while not os.path.exists(os.path.join({str(tmp_path)!r}, name)):
        time.sleep(0.05)
    return name
executor = gdispy.Executor(max_workers=2)
early = executor.submit(wait_for, 'early')
"""
    assert cell(client, code) == ("ok", "")
    found: list[tuple[str, str]] = []
    waiting = "late = [executor.submit(wait_for, 'never') for _ in range(10)]\nlate[0].result()"
    thread = threading.Thread(target=lambda: found.append(cell(client, waiting)))
    thread.start()
    assert eventually((tmp_path / "began-never").exists, LIMIT)
    manager.interrupt_kernel()
    thread.join(LIMIT)
    assert [status for status, _ in found] == ["error"]
    status, printed = cell(
        client, "print(executor.submit(pow, 2, 5).result(), {each.cancelled() for each in late[2:]})"
    )
    assert (status, printed) == ("ok", "32 {True}\n")
    (tmp_path / "early").touch()
    assert cell(client, "print(early.result())\nexecutor.shutdown()") == ("ok", "early\n")
