"""The options of the page of a daemon."""

from __future__ import annotations

from pathlib import Path

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


def test_metrics_have_a_token_in_a_file_and_a_number_of_names(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    found = read("--http", "0", "--metrics_token_file", str(file), "--metrics-computations", "0")
    assert found is not None
    assert (found.metrics_token, found.metrics_computations) == ("0123456789abcdef0123456789abcdef", 0)


@pytest.mark.parametrize("text", ["", "short", "two words that are long enough", "ä" * 40, "first-line-of-two\nsecond"])
def test_file_without_one_good_token_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(ConfigError, match="must have one line with a token"):
        read("--http", "0", "--metrics_token_file", str(tmp_path / "token"))


@pytest.mark.parametrize(("mode", "is_warned"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_token_that_all_users_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, is_warned: bool
) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    file.chmod(mode)
    assert read("--http", "0", "--metrics_token_file", str(file)) is not None
    assert (f"chmod o-r {file}" in caplog.text) == is_warned
    assert "0123456789" not in caplog.text


def test_options_of_metrics_that_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read("--http", "0", "--metrics_token_file", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="between 0 and 10000"):
        read("--http", "0", "--metrics_computations", "-1")
    for words in (("--metrics_token_file", "x"), ("--metrics_computations", "0")):
        with pytest.raises(ConfigError, match="needs --http"):
            read(*words)
