"""The page of the API: an entry and a docstring for everything public, and a row for each parameter."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gdispy
import gdispy.joblib
from gdispy.client import job_options
from gdispy.client.executor import ExecutorView
from gdispy.client.futures import CallTimeout, JobFuture
from gdispy.client.map_results import MapResults
from gdispy.client.page import ServedPage
from gdispy.httpd import DispyHTTPServer
from gdispy.recover import Recovered

DOCS = Path(__file__).parents[2] / "docs"

ERRORS = [
    each
    for each in (getattr(gdispy, name) for name in gdispy.__all__)
    if isinstance(each, type) and issubclass(each, BaseException)
]
#: Public classes, with the objects that public functions return.
CLASSES = [
    *(gdispy.JobCluster, gdispy.SharedJobCluster, gdispy.Executor, ExecutorView, JobFuture, CallTimeout),
    *(gdispy.DispyJob, gdispy.NodeAllocate, MapResults, Recovered, ServedPage, DispyHTTPServer),
    *(gdispy.ClusterStatus, gdispy.DispyNode, gdispy.DispyNodeAvailInfo, *ERRORS),
]
#: Parts of public classes that only gdispy uses, and why they have no underscore: modules of it share them.
INTERNAL = {
    gdispy.NodeAllocate: {"is_plain", "left", "means", "named"},
    gdispy.DispyNode: {"began", "closed", "finished", "of", "received", "update"},
    gdispy.DispyNodeAvailInfo: {"of"},
    # Of `concurrent.futures`, for executors: they raise an error here.
    JobFuture: {"set_exception", "set_result", "set_running_or_notify_cancel"},
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    goal = tmp_path_factory.mktemp("html")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-d", str(goal / "doctrees"), str(DOCS), str(goal)]
    done = subprocess.run([*command, str(DOCS / "api.rst")], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return (goal / "api.html").read_text()


def own_parts(kind: type) -> Iterator[type]:
    """The class, and those of gdispy from which it inherits without an entry on the page."""
    for each in kind.__mro__:
        if each.__module__.startswith("gdispy") and (each is kind or each not in CLASSES):
            yield each


def assigned(kind: type) -> set[str]:
    """The attributes that methods of a class assign to `self`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except OSError:  # Made by `namedtuple`.
        return set()
    stores = [each for each in ast.walk(tree) if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)]
    return {each.attr for each in stores if ast.unparse(each.value) == "self"}


def public(kind: type) -> set[str]:
    found: set[str] = set()
    for each in own_parts(kind):
        found |= {*vars(each), *vars(each).get("__annotations__", ()), *assigned(each)}
    return {name for name in found if not name.startswith("_")} - INTERNAL.get(kind, set())


def path_of(kind: type) -> str:
    return f"gdispy.{kind.__name__}" if kind.__name__ in gdispy.__all__ else f"{kind.__module__}.{kind.__name__}"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_public_attribute_has_an_entry(kind: type, page: str) -> None:
    assert f'id="{path_of(kind)}"' in page
    # What a class overrides is described where it is introduced.
    inherited = {name for base in kind.__mro__[1:] if base in CLASSES for name in public(base)}
    missing = [name for name in public(kind) - inherited if f'id="{path_of(kind)}.{name}"' not in page]
    assert missing == []


def test_it_finds_attributes_of_each_sort() -> None:
    """Methods, properties, constants, annotations, slots, and what is assigned in methods."""
    assert {"submit", "callback", "poll_interval", "name"} <= public(gdispy.JobCluster)
    assert {"Finished", "status", "stdout", "wait"} <= public(gdispy.DispyJob)
    assert {"problems", "jobs_pending"} <= public(gdispy.ClusterStatus)
    assert {"busy", "avail_info"} <= public(gdispy.DispyNode) and public(JobFuture) >= {"job"}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_public_method_has_a_docstring(kind: type) -> None:
    described = [kind, *(getattr(kind, name, None) for name in public(kind))]
    callables = [each for each in described if callable(each) or isinstance(each, property)]
    assert [each for each in callables if not inspect.getdoc(each)] == []


@pytest.mark.parametrize("name", gdispy.__all__)
def test_every_public_name_has_an_entry(name: str, page: str) -> None:
    assert f'id="gdispy.{name}"' in page


def tables(page: str, path: str) -> set[str]:
    """The names in the first columns of the tables in the entry of a class."""
    entry = page.split(f'id="{path}"', 1)[1]
    # Up to the next class or function, which is not indented in this entry.
    entry = re.split(r'<dl class="py (?:class|function|exception)">', entry, maxsplit=1)[0]
    cells = re.findall(r"(?s)<tr[^>]*>\s*<td>(.*?)</td>", entry)
    codes = [code for cell in cells for code in re.findall(r"(?s)<code[^>]*>(.*?)</code>", cell)]
    return {re.sub(r"<[^>]+>", "", code).lstrip("*") for code in codes}


def parameters(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self"}


def test_every_parameter_of_clusters_has_a_row(page: str) -> None:
    rows = tables(page, "gdispy.JobCluster")
    options = {name for name in rows if name.startswith("dispy_")}
    assert rows - options == parameters(gdispy.JobCluster)
    assert options == set(job_options._KNOWN)
    only_shared = parameters(gdispy.SharedJobCluster) - parameters(gdispy.JobCluster)
    assert tables(page, "gdispy.SharedJobCluster") == only_shared | {"port"}


def test_every_parameter_of_executors_has_a_row(page: str) -> None:
    expected = parameters(gdispy.Executor) | parameters(gdispy.Executor.options)
    assert tables(page, "gdispy.Executor") == expected
    assert tables(page, "gdispy.NodeAllocate") == parameters(gdispy.NodeAllocate)


def test_every_status_has_a_row_with_its_number(page: str) -> None:
    rows = dict(re.findall(r"(?s)>(\w+)</span></code></a></p></td>\s*<td><p>(\d+)</p></td>", page))
    names = ("Created", "Running", "ProvisionalResult", "Cancelled", "Terminated", "Abandoned", "Finished")
    assert rows == {name: str(getattr(gdispy.DispyJob, name)) for name in names}
