"""What a program defines travels: as function, argument, default, global and result, whoever defines it.

Each case is executed as the program itself, as a module of it, as text that it executes, and as in a shell's cell (see
tests/support/case_server.py); jobs run on a real node, and the case tells what they return.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# These two fill CASES.
from tests.support import travelling_classes, travelling_functions  # noqa: F401
from tests.support.case_server import WAYS
from tests.support.daemons import Daemon
from tests.support.forking import Server
from tests.support.travel_cases import CASES

Tell = Callable[[str, str, str], str]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server("tests.support.case_server")
    yield made
    made.end()


@pytest.fixture
def tell(server: Server, node: Daemon, secret_file: str, tmp_path: Path) -> Tell:
    """Executes a case in one way; what its expression tells."""

    def ask(way: str, text: str, expression: str) -> str:
        with server.child("case") as question:
            return str(question(way, str(tmp_path), text, expression, [node.place], secret_file))

    return ask


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_what_a_program_defines_travels(tell: Tell, way: str, name: str) -> None:
    text, expression, shown = CASES[name]
    assert tell(way, text, expression) == shown
