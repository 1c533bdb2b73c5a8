"""Lines of the logger on the terminal: only for programs that ask for them, and have not configured logging."""

from __future__ import annotations

import re

import pytest

from tests.support.daemons import run_python


def lines(code: str) -> list[str]:
    ended = run_python(f"import gdispy as dispy, logging, sys\n{code}")
    assert ended.returncode == 0, ended.stderr
    return [line.partition(" gdispy - ")[2] or line for line in ended.stderr.decode().splitlines()]


def test_a_program_that_uses_the_logger_sees_its_lines_from_info_on() -> None:
    assert lines("dispy.logger.info('a %s', 1); dispy.logger.debug('b'); dispy.logger.warn('c')") == ["a 1", "c"]
    assert lines("from gdispy import logger; logger.setLevel(logger.DEBUG); logger.debug('b')") == ["b"]


def test_a_program_that_has_configured_logging_sees_nothing_twice() -> None:
    format = "logging.basicConfig(format='own %(message)s')"
    assert lines(f"{format}; dispy.logger.warning('a'); dispy.logger.info('b')") == ["own a"]
    assert lines(f"dispy.logger.warning('a'); {format}; dispy.logger.warning('b')") == ["a", "own b"]
    own = "handler = logging.StreamHandler(); handler.setFormatter(logging.Formatter('mine %(message)s'))"
    assert lines(f"{own}; dispy.logger.addHandler(handler); dispy.logger.warning('a')") == ["mine a"]


def test_importing_and_logging_of_gdispy_itself_configures_nothing() -> None:
    code = "import gdispy.client.engine, gdispy.log; own = logging.getLogger('gdispy'); own.info('a'); own.warning('b')"
    assert lines(f"{code}; assert not own.handlers and not own.level") == ["b"]


def test_milliseconds_are_shown_if_wanted() -> None:
    ended = run_python("import gdispy; gdispy.logger.show_ms(True); gdispy.logger.info('a')")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} gdispy - a\n", ended.stderr.decode())


@pytest.mark.parametrize(
    "name", ["WARN", "FATAL", "show_ms", "flush", "shutdown", "stream", "nolog", "log_ms", "fatal"]
)
def test_what_programs_for_dispy_use_is_there(name: str) -> None:
    assert lines(f"assert hasattr(dispy.logger, {name!r}); dispy.logger.flush(); dispy.logger.__enter__()") == []
