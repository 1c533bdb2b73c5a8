"""A process that makes a user's program for each case of what travels (see tests/integration/test_what_travels.py).

A case is text that defines something, executed in one of several ways, and an expression of which it tells the value.
In the expression, `cluster(computation, ...)` makes a cluster on the node of the tests, `run(computation, *args)` has a
cluster of its own run one job, and `folder` is an empty directory.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.forking import serve

#: Seconds that a job may take.
PATIENCE = 15


def of_main(text: str, folder: Path) -> dict[str, Any]:
    """As a program that is run."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    path = folder / "program.py"
    path.write_text(text)
    main.__file__ = str(path)
    exec(compile(text, path, "exec", dont_inherit=True), vars(main))
    return vars(main)


def of_a_module(text: str, folder: Path) -> dict[str, Any]:
    """As a module of the program."""
    (folder / "part_of_program.py").write_text(text)
    sys.path.insert(0, str(folder))
    return vars(importlib.import_module("part_of_program"))


def of_text(text: str, _folder: Path) -> dict[str, Any]:
    """As text that a host of plug-ins executes."""
    space: dict[str, Any] = {"__name__": "plugin"}
    exec(compile(text, "<text>", "exec", dont_inherit=True), space)
    return space


def of_a_cell(text: str, _folder: Path) -> dict[str, Any]:
    """As a shell or doctest does: in a namespace called `__main__`, which is another one."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "<cell>", "exec", dont_inherit=True), space)
    return space


WAYS: dict[str, Callable[[str, Path], dict[str, Any]]] = {
    "main": of_main,
    "module": of_a_module,
    "text": of_text,
    "cell": of_a_cell,
}


def clusters(nodes: list[Any], secret_file: str) -> Callable[..., Any]:
    import gdispy

    return functools.partial(gdispy.JobCluster, nodes=nodes, secret_file=secret_file)


def run(cluster: Callable[..., Any], computation: Any, *args: Any, **kwargs: Any) -> Any:
    """What a job returns. Raises AssertionError where it fails, or does not end."""
    made = cluster(computation)
    try:
        job = made.submit(*args, **kwargs)
        assert job.wait(PATIENCE), f"the job does not end: {made.status().problems}"
        assert job.status == job.Finished, job.exception
        return job.result
    finally:
        made.close(timeout=0, terminate=True)


def case() -> Any:
    way, folder, text, expression, nodes, secret_file = yield
    space = WAYS[way](text, Path(folder))
    cluster = clusters(nodes, secret_file)
    names = {"cluster": cluster, "run": functools.partial(run, cluster), "folder": folder}
    vars(sys.modules["builtins"]).update(names)  # Where the program's own names are not touched.
    yield repr(eval(expression, space))


if __name__ == "__main__":
    serve({"case": case})
