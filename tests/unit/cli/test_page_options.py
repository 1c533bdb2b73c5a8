"""The options of the page of a daemon."""

from __future__ import annotations

import pytest

from gdispy.cli.options import ResolvedOptions
from gdispy.cli.page_options import PageOptions, page_options
from gdispy.cli.scheduler import scheduler_parser
from gdispy.errors import ConfigError


def read(*words: str) -> PageOptions | None:
    parser = scheduler_parser()
    return page_options(ResolvedOptions(parser, parser.parse_args(words), {}, ""))


def test_port_alone_is_on_this_machine_and_only_shows() -> None:
    assert read() is None
    assert read("--http", "8181") == PageOptions("127.0.0.1", 8181, False)
    assert read("--http", "[::1]:0", "--http-admin") == PageOptions("::1", 0, True)
    assert read("--http", "lab:80") == PageOptions("lab", 80, False)


@pytest.mark.parametrize("place", ["x", ":80", "lab:", "lab:x", "65536", "-1", "lab:-1", "٣", "1.5"])
def test_other_places_are_refused(place: str) -> None:
    with pytest.raises(ConfigError, match="--http: write PORT or HOST:PORT"):
        read(f"--http={place}")


def test_actions_need_a_page() -> None:
    with pytest.raises(ConfigError, match="needs --http"):
        read("--http_admin")
