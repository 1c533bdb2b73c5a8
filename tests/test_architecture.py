"""What holds the modules apart: the import contracts, forbidden calls, sizes, and the document of the protocol."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import gdispy
from gdispy.protocol.messages import ALL

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gdispy"
TESTS = ROOT / "tests"
#: No test, but a program of a user that storms start; its jobs sleep, as jobs do.
USER_PROGRAM = TESTS / "chaos" / "client_program.py"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}
TEST_TREES = {path: ast.parse(path.read_text()) for path in sorted(TESTS.rglob("*.py"))}


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def statements(body: list[ast.stmt], everywhere: bool) -> Iterator[ast.stmt]:
    """The statements that run on import; with `everywhere` those of functions too."""
    for node in body:
        yield node
        if _is_for_types(node) and not everywhere:
            yield from statements(node.orelse, everywhere)  # type: ignore[attr-defined]
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not everywhere:
            continue
        for name in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, name, []), everywhere)
        for handler in getattr(node, "handlers", []):
            yield from statements(handler.body, everywhere)


def imports(name: str, everywhere: bool = False) -> set[str]:
    """The modules that a module imports, by their full names."""
    found: set[str] = set()
    for node in statements(TREES[name].body, everywhere):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            module = node.module or ""
            submodules = {f"{module}.{alias.name}" for alias in node.names} & SOURCES.keys()
            only_submodules = len(submodules) == len(node.names)
            found |= submodules if only_submodules else submodules | {module}
    return found


def is_one_of(module: str, packages: set[str]) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in packages)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


# Imports


def test_import_contracts_are_kept() -> None:
    """Those of `pyproject.toml`: the layers of packages, and what rules and workers must not import."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", "pyproject.toml"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert result.returncode == 0, result.stdout


def test_modules_import_each_other_in_no_circle() -> None:
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name in done:
            return
        for each in sorted(imports(name) & SOURCES.keys() - {"gdispy"}):
            visit(each, (*trail, name))
        done.add(name)

    for name in SOURCES:
        visit(name, ())


@pytest.mark.parametrize("name", [name for name in SOURCES if is_one_of(name, {"gdispy.worker"})])
def test_worker_imports_neither_gevent_nor_the_rest_of_the_package(name: str) -> None:
    found = imports(name, everywhere=True)
    own = {"gdispy.worker", "gdispy.protocol.limits", "gdispy.protocol.texts"}
    others = {each for each in found if is_one_of(each, {"gdispy"}) and not is_one_of(each, own)}
    assert others | {each for each in found if is_one_of(each, {"gevent", "greenlet"})} == set()


def test_only_modules_of_workers_import_what_unpickles() -> None:
    names = {
        name
        for name in SOURCES
        if any(
            is_one_of(each, {"pickle", "dill", "cloudpickle", "marshal", "shelve"})
            for each in imports(name, everywhere=True)
        )
    }
    assert names <= {
        f"gdispy.worker.{name}" for name in ("pickling", "by_value", "reductions", "open_files", "source", "spawner")
    }


def test_package_patches_nothing_itself() -> None:
    """What patches are programs: those of `python -m`, and what `client/local_node.py` starts, which is a string
    there."""
    for name, tree in TREES.items():
        patching = [
            node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("patch_")
        ]
        assert patching == [] or name == "gdispy.runtime.patching", name
        if "monkey.patch" in SOURCES[name].read_text():
            assert name in ("gdispy.client.local_node", "gdispy.runtime.patching")


@pytest.mark.parametrize("name", ["__main__", "dispynode", "dispyscheduler", "dispynetrelay"])
def test_what_is_run_as_a_program_is_patched_before_the_command_is_imported(name: str) -> None:
    text = SOURCES[f"gdispy.{name}"].read_text()
    assert 0 < text.find("import gdispy.runtime.patching") < text.find("from gdispy.cli import")


def test_gevents_processes_are_used_nowhere() -> None:
    for name, path in SOURCES.items():
        assert "gevent.subprocess" not in imports(name, everywhere=True), name
        assert not re.search(r"gevent\.subprocess|from gevent import .*\bsubprocess\b", path.read_text()), name


def test_greenlets_are_started_in_one_module() -> None:
    """Elsewhere one could end unseen."""
    starting = re.compile(
        r"\bgevent\.(spawn\w*|Greenlet\(|pool\b|threadpool\b)|Greenlet\.spawn|threadpool\.spawn|rawlink"
    )
    importing = re.compile(r"from gevent(\.\w+)? import .*\b(spawn\w*|Greenlet|Pool|Group|ThreadPool)\b")
    found = {name for name, path in SOURCES.items() if starting.search(path.read_text())}
    found |= {name for name, path in SOURCES.items() if importing.search(path.read_text())}
    assert found == {"gdispy.runtime.greenlets"}


def test_callbacks_of_the_loop_are_in_modules_that_guard_them() -> None:
    """What such a callback raises, gevent writes to stderr; and it stops a watcher that has failed for ever."""
    making = re.compile(r"loop\.(io|timer|async_|child|signal|stat|run_callback)\(")
    found = {name for name, path in SOURCES.items() if making.search(path.read_text())}
    # `process_manager` and `gate` only wait for a watcher; the others guard each turn themselves.
    assert found == {
        "gdispy.execution.process_manager",
        "gdispy.hub",
        "gdispy.runtime.gate",
        "gdispy.runtime.pump",
        *(f"gdispy.transport.{name}" for name in ("acceptor", "connection", "listener", "liveness")),
    }


INDEPENDENT = {path: tree for path, tree in TEST_TREES.items() if path.parent == TESTS / "independent"}


@pytest.mark.parametrize("path", INDEPENDENT, ids=lambda path: path.stem)
def test_independent_implementation_imports_nothing_of_gdispy(path: Path) -> None:
    nodes = list(ast.walk(INDEPENDENT[path]))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in nodes)
    others = {"msgpack", "nacl", "dill", "numpy", "tests.independent"}
    assert [each for each in found if not is_one_of(each, others | set(sys.stdlib_module_names))] == []


def test_independent_implementation_loads_nothing_of_gdispy() -> None:
    names = [f"tests.independent.{path.stem}" for path in INDEPENDENT if path.stem != "__init__"]
    assert len(names) >= 6
    loaded = run_fresh(f"import sys, {', '.join(names)}; print(*sys.modules)").split()
    assert [each for each in loaded if is_one_of(each, {"gdispy", "gevent"})] == []


# Fresh processes


def run_fresh(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("statement", ["import gdispy", "from gdispy import JobCluster"])
def test_importing_patches_nothing_starts_nothing_and_makes_no_hub(statement: str) -> None:
    code = f"""
import os, threading
before = set(threading.enumerate()), set(os.listdir("/proc/self/task"))
{statement}
assert (set(threading.enumerate()), set(os.listdir("/proc/self/task"))) == before, "threads"
import sys
monkey = sys.modules.get("gevent.monkey")
assert monkey is None or not monkey.saved, "patched"
if "gevent" in sys.modules:
    from gevent._hub_local import get_hub_if_exists
    assert get_hub_if_exists() is None, "hub"
"""
    run_fresh(code)


def test_package_itself_does_not_load_gevent() -> None:
    assert run_fresh("import gdispy, sys; print('gevent' in sys.modules)") == "False\n"


@pytest.mark.parametrize("module", ["runner", "spawner", "template", "injected_names", "program"])
def test_worker_loads_no_gevent_and_nothing_of_the_network(module: str) -> None:
    loaded = run_fresh(f"import gdispy.worker.{module}, sys; print(*sys.modules)").split()
    suspects = [each for each in loaded if is_one_of(each, {"gevent", "greenlet", "nacl", "gdispy"})]
    allowed = {"gdispy.worker", "gdispy.config", "gdispy.errors", "gdispy.protocol.limits", "gdispy.protocol.texts"}
    packages = ("gdispy", "gdispy.protocol", *(f"gdispy.{name}" for name in gdispy._FORMER_MODULES))
    assert [each for each in suspects if each not in packages and not is_one_of(each, allowed)] == []


@pytest.mark.parametrize("module", ["node", "scheduler", "shared_scheduler.service", "execution.process_manager"])
def test_daemons_load_nothing_that_unpickles(module: str) -> None:
    loaded = run_fresh(f"import gdispy.{module}, sys; print(*sys.modules)").split()
    assert [each for each in loaded if is_one_of(each, {"dill", "cloudpickle", "gdispy.worker.pickling"})] == []


# Sizes and headers


@pytest.mark.parametrize("name", SOURCES)
def test_module_is_not_too_long(name: str) -> None:
    assert len(SOURCES[name].read_text().splitlines()) <= 620


def test_functions_are_short() -> None:
    lengths = {
        f"{name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, tree in TREES.items()
        for node in functions(tree)
    }
    assert {name: length for name, length in lengths.items() if length > 60} == {}
    assert sorted(lengths.values())[len(lengths) * 9 // 10] <= 30


#: Attributes that an object of one class may set of itself. What has more is two things.
ATTRIBUTES = 26


def attributes(node: ast.ClassDef) -> set[str]:
    """The attributes that methods of a class set of `self`, and those that it declares."""
    found = {
        each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store) and ast.unparse(each.value) == "self":
            found.add(each.attr)
    return found


def test_classes_are_not_too_wide() -> None:
    widths = {
        f"{name}.{node.name}": len(attributes(node))
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    assert {name: width for name, width in widths.items() if width > ATTRIBUTES} == {}


def test_every_unit_test_is_in_the_folder_of_what_it_tests() -> None:
    """`tests/unit/<package>/test_<module>...py`; what spans packages is in `tests/unit` itself."""
    unit = TESTS / "unit"
    wrong = []
    for path in unit.rglob("test_*.py"):
        folder = path.parent.relative_to(unit)
        modules = {each.stem for each in (PACKAGE / folder).glob("*.py")}
        stem = path.stem.removeprefix("test_")
        if folder.parts and not any(stem == each or stem.startswith(f"{each}_") for each in modules):
            wrong.append(str(path.relative_to(unit)))
    assert sorted(wrong) == [
        "protocol/test_independent_peer.py",
        "protocol/test_messages.py",
        "rules/test_rules_together.py",
    ]


def test_tests_do_not_sleep() -> None:
    """Only `tests/support` waits; what must still run when a test looks waits for the test."""
    found = []
    for path, tree in TEST_TREES.items():
        if path.relative_to(TESTS).parts[0] == "support" or path == USER_PROGRAM:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "gevent.sleep"):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


# The document


def test_document_describes_every_message_with_its_tag_and_fields_and_no_others() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE)
    described = [(int(tag), name, re.findall(r"`(\w+)`", cell)) for tag, name, cell in rows]
    expected = [(kind.tag, kind.__name__, [field.name for field in fields(kind)]) for kind in ALL]  # type: ignore[arg-type]
    assert sorted(described) == sorted(expected)


def test_picture_of_the_packages_is_what_the_source_says() -> None:
    """Else: `python docs/packages.py`."""
    assert subprocess.run([sys.executable, ROOT / "docs" / "packages.py", "--check"], timeout=60).returncode == 0


@pytest.mark.parametrize("page", ["architecture", "walks", "internals", "protocol", "recovery", "security"])
def test_pages_name_modules_that_exist(page: str) -> None:
    """By their paths in the package; a name alone is in the folder of the one that was named before it."""
    modules = {path.relative_to(PACKAGE).as_posix() for path in SOURCES.values()}
    folder, missing = "", []
    for name in re.findall(r"`(?:gdispy/)?([\w/]+\.py)`", (ROOT / "docs" / f"{page}.md").read_text()):
        if name in modules:
            folder = name.rpartition("/")[0]
        elif f"{folder}/{name}" not in modules and not (ROOT / name).exists():
            missing.append(name)
    assert missing == []
