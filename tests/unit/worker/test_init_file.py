"""The file that a node runs before all computations: its result, its names, its errors."""

from __future__ import annotations

import builtins
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy.worker.init_file import CLOSE_LIMIT, Startup

Write = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("fresh_modules")


@pytest.fixture(autouse=True)
def same_builtins() -> Iterator[None]:
    before = dict(vars(builtins))
    yield
    for name in vars(builtins).keys() - before.keys():
        delattr(builtins, name)


def startup(write: Write, text: str) -> Startup:
    return Startup(str(write("init.py", text)))


def test_node_without_a_file_has_nothing_to_run() -> None:
    made = Startup("")
    assert made.run() == "" and made.exported == {}
    made.close()


def test_names_of_the_file_become_builtins(write: Write) -> None:
    made = startup(write, "data = 0\n_hidden = 1\nlen = 2\ndef init():\n    global data\n    data = 5\n    return 0\n")
    assert made.run() == ""
    assert made.exported == {"data": 5} and builtins.data == 5  # type: ignore[attr-defined]
    assert builtins.len is len and not hasattr(builtins, "_hidden") and not hasattr(builtins, "init")


@pytest.mark.parametrize("result", ["0", "None"])
def test_result_0_or_none_is_success(write: Write, result: str) -> None:
    assert startup(write, f"def init(): return {result}").run() == ""


@pytest.mark.parametrize("result", ["1", "-1", "False", "True", "'a'", "0.5"])
def test_any_other_result_is_an_error(write: Write, result: str) -> None:
    made = startup(write, f"def init(): return {result}")
    assert made.run() == f"init() in {made._path} returned {eval(result)!r}; 0 means success"


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("x = 5", "TypeError: it does not define init()"),
        ("init = 5", "TypeError: it does not define init()"),
        ("def init(): raise ValueError('wrong')", "ValueError: wrong"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def init(:", "SyntaxError"),
    ],
)
def test_failure_is_reported_with_the_traceback_of_the_file(write: Write, text: str, last: str) -> None:
    made = startup(write, text)
    lines = made.run().splitlines()
    assert lines[0] == f"{made._path} failed:" and lines[-1].startswith(last)
    assert made.exported == {}


def test_file_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    assert "FileNotFoundError" in Startup(str(tmp_path / "none.py")).run()


def test_modules_beside_the_file_are_found_and_output_is_not_the_nodes(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("beside.py", "value = 7")
    assert startup(write, "import beside\nprint(beside.value)\ndef init(): print('in init')").run() == ""
    assert capsys.readouterr() == ("", "7\nin init\n")
    assert "gdispy_init" in sys.modules


class Alarm:
    """The time limit of `close()`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[int] = []
        self.handler: Any = None
        monkeypatch.setattr(signal, "alarm", self.seconds.append)
        monkeypatch.setattr(signal, "signal", lambda number, handler: setattr(self, "handler", handler))


def test_close_is_called_within_a_time_limit(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alarm = Alarm(monkeypatch)
    made = startup(write, "def init(): pass\ndef close(): print('closed')")
    made.run()
    made.close()
    assert capsys.readouterr() == ("", "closed\n") and alarm.seconds == [CLOSE_LIMIT, 0]
    with pytest.raises(TimeoutError, match=r"close\(\) took longer than 10 s"):
        alarm.handler(signal.SIGALRM, None)


@pytest.mark.parametrize("text", ["raise ValueError('wrong')", "raise SystemExit", "raise KeyboardInterrupt"])
def test_error_of_close_is_logged_and_stops_nothing(
    write: Write, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alarm = Alarm(monkeypatch)
    made = startup(write, f"def init(): pass\ndef close(): {text}")
    made.run()
    made.close()
    assert "Traceback" in capsys.readouterr().err and alarm.seconds[-1] == 0
