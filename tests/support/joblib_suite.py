"""Runs those of joblib's own tests of `Parallel` that take a backend, with gdispy's, which is registered before them.

Prints the counts as JSON. The tests are those of the installed joblib, unchanged.
"""

from __future__ import annotations

import json
import os
import sys

import joblib
import pytest

import gdispy.joblib

#: Tests that are left out, and why.
LEFT_OUT = dict.fromkeys(
    ["test_nested_loop[loky-gdispy]", "test_nested_loop[back_compat_backend-gdispy]"],
    "the processes of loky import joblib only, so that no backend is registered there",
)


class Chosen:
    """Keeps the tests with a parameter that is the backend, and counts their outcomes."""

    def __init__(self) -> None:
        self.passed = 0
        self.bad: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.name not in LEFT_OUT and _takes_it(item)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.bad.append(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed += 1


def _takes_it(item: pytest.Item) -> bool:
    spec = getattr(item, "callspec", None)
    values = spec.params.values() if spec is not None else ()
    return any(value == "gdispy" or isinstance(value, gdispy.joblib.GdispyBackend) for value in values)


def main() -> int:
    gdispy.joblib.register()
    path = os.path.join(os.path.dirname(joblib.__file__), "test", "test_parallel.py")
    chosen = Chosen()
    words = [path, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore", "-c", os.devnull, "--rootdir", "."]
    code = pytest.main([*words, *sys.argv[1:]], plugins=[chosen])
    gdispy.joblib.shutdown()
    print(json.dumps({"passed": chosen.passed, "bad": chosen.bad}))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
