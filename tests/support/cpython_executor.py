"""Runs CPython's own tests of executors with `gdispy.Executor`, and prints what came out as JSON.

For an interpreter that has `test.test_concurrent_futures`. The tests are those of that interpreter, unchanged: classes
are made here that combine them with an executor of gdispy.
"""

from __future__ import annotations

import io
import json
import sys
import unittest
from typing import Any

from test.test_concurrent_futures.executor import ExecutorTest
from test.test_concurrent_futures.test_as_completed import AsCompletedTests
from test.test_concurrent_futures.test_deadlock import ExecutorDeadlockTest
from test.test_concurrent_futures.test_init import InitializerMixin
from test.test_concurrent_futures.test_process_pool import ProcessPoolExecutorTest
from test.test_concurrent_futures.test_shutdown import ExecutorShutdownTest
from test.test_concurrent_futures.test_wait import WaitTests

import gdispy

#: Tests that are left out, and why.
LEFT_OUT = {
    **dict.fromkeys(
        ["test_interpreter_shutdown", "test_submit_after_interpreter_shutdown", "test_hang_gh83386"],
        "its program imports the executor from concurrent.futures; tests/acceptance/test_executor.py has the same",
    ),
    "test_cancel_futures": "it expects that some of the calls have begun when `submit` returns, as in a pool;"
    " tests/acceptance/test_executor.py has the same, and waits for that",
    "test_shutdown_deadlock_pickle": "it reads executor._executor_manager_thread",
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": "it patches concurrent.futures.process",
    "test_killed_child": "it reads executor._processes, and expects that the whole pool breaks",
    "test_saturation": "it reads executor._processes",
    "test_idle_process_reuse_one": "it reads executor._processes",
    "test_idle_process_reuse_multiple": "it reads executor._processes",
    "test_max_tasks_per_child": "it reads executor._processes; a parameter of the process pool alone",
    "test_max_tasks_per_child_defaults_to_spawn_context": "it reads executor._mp_context",
    "test_max_tasks_early_shutdown": "max_tasks_per_child is a parameter of the process pool alone",
    "test_python_finalization_error": "it patches threading in concurrent.futures.process",
    "test_force_shutdown_workers": "it reads executor._processes",
    "test_traceback": "it names futures.process._RemoteTraceback",
    "test_ressources_gced_in_workers": "its object of a manager of multiprocessing connects to that by a socket of this"
    " process tree, with the authentication key of this process",
}


class Executor(gdispy.Executor):
    """Takes the parameter that the tests of process pools give."""

    def __init__(self, *args: Any, mp_context: Any = None, **options: Any) -> None:
        super().__init__(*args, **options)


class Mixin:
    executor_type = Executor
    worker_count = 5
    executor_kwargs: dict[str, Any] = {}

    def setUp(self) -> None:
        self.executor = self.executor_type(max_workers=self.worker_count, **self.executor_kwargs)

    def tearDown(self) -> None:
        self.executor.shutdown(wait=True)
        self.executor = None  # type: ignore[assignment]

    def get_context(self) -> Any:
        return None


class Initializer(InitializerMixin):
    """Its own `setUp`, which is that of a mixin for executors, gives the initializer."""

    executor_type = Executor


def classes() -> list[type[unittest.TestCase]]:
    suites = (ExecutorTest, ProcessPoolExecutorTest, WaitTests, AsCompletedTests)
    suites += (ExecutorShutdownTest, ExecutorDeadlockTest)
    made = [type(f"Gdispy{suite.__name__}", (Mixin, suite, unittest.TestCase), {}) for suite in suites]
    return [*made, type("GdispyInitializerTest", (Initializer, unittest.TestCase), {})]


def main() -> int:
    suite, left_out = unittest.TestSuite(), []
    for kind in classes():
        for name in unittest.defaultTestLoader.getTestCaseNames(kind):
            if name in LEFT_OUT:
                left_out.append(name)
            elif len(sys.argv) < 2 or name in sys.argv[1:]:
                suite.addTest(kind(name))
    output = io.StringIO()
    result = unittest.TextTestRunner(output, verbosity=2).run(suite)
    bad = [str(test) for test, _ in (*result.failures, *result.errors)]
    told = {"run": result.testsRun, "skipped": [[str(test), why] for test, why in result.skipped], "bad": bad}
    print(output.getvalue(), file=sys.stderr)
    print(json.dumps({**told, "left out": sorted(set(left_out))}))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
