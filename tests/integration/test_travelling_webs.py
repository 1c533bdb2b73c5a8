"""Random webs of functions, classes, closures and modules compute in a fresh process what they compute at home."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.forking import Server
from tests.support.webs import Web, webs

_bounded = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server, Server]]:
    """Home, a home where text has other hashes, and away."""
    module = "tests.support.web_server"
    made = Server(module, 1), Server(module, 2), Server(module, 3)
    yield made
    for each in made:
        each.end()


class Folder:
    """A program in a folder of its own."""

    def __init__(self, web: Web) -> None:
        self.web = web

    def __enter__(self) -> str:
        self.path = Path(tempfile.mkdtemp(prefix="web"))
        for name, text in self.web.files.items():
            path = self.path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return str(self.path)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path)


@_bounded
@given(webs())
def test_a_web_computes_the_same_in_a_fresh_process(servers: tuple[Server, Server, Server], web: Web) -> None:
    home, _, away = servers
    with Folder(web) as folder, home.child("home") as ask_home:
        first, second, _ = ask_home(folder)
        with away.child("away") as ask_away:
            told_away, twice, back = ask_away(first, second)
        told_home, changed = ask_home(back)
    assert told_away == told_home
    # One definition is one object, in all payloads, and here again on the way back.
    assert [name for name in twice if web.names[name]] == []
    assert [name for name in changed if web.names[name]] == []


@_bounded
@given(webs())
def test_the_same_definitions_have_the_same_bytes(servers: tuple[Server, Server, Server], web: Web) -> None:
    payloads = []
    with Folder(web) as folder:
        for home in servers[:2]:
            with home.child("home") as ask:
                payload, _, is_same = ask(folder)
                assert is_same
                payloads.append(payload)
    assert payloads[0] == payloads[1]
