"""What goes along as files: modules of the program, wherever they lie here, and data beside them."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdispy import ConfigError, JobCluster, SharedJobCluster
from tests.support.daemons import Daemon

Make = Callable[..., JobCluster]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of a program, in which it runs; what it imports is gone after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_all_portions_of_a_namespace_package_are_one_package_on_the_node(cluster: Make, program: Path) -> None:
    write(program / "a" / "shared_space" / "one" / "mod.py", "def work(n): return n + 1")
    write(program / "b" / "shared_space" / "two.py", "def work(n): return n + 2")
    sys.path[:0] = [str(program / "a"), str(program / "b")]
    one = importlib.import_module("shared_space.one.mod")
    importlib.import_module("shared_space.two")

    def both(n: int) -> tuple[int, int]:
        import shared_space.one.mod
        import shared_space.two

        return shared_space.one.mod.work(n), shared_space.two.work(n)

    assert cluster(one.work).submit(1)() == 2
    assert cluster(both, depends=[sys.modules["shared_space"]]).submit(1)() == (2, 3)


def test_modules_of_an_archive_and_of_another_name_are_imported_on_the_node(cluster: Make, program: Path) -> None:
    with zipfile.ZipFile(program / "app.pyz", "w") as file:
        file.writestr("zipped_package/__init__.py", "from zipped_package.inner import seven")
        file.writestr("zipped_package/inner.py", "def seven(): return 7")
    sys.path.insert(0, str(program / "app.pyz"))
    zipped = importlib.import_module("zipped_package")
    write(program / "plugin-1.py", "def six(): return 6")
    spec = importlib.util.spec_from_file_location("named_otherwise", program / "plugin-1.py")
    assert spec is not None and spec.loader is not None
    plugin = sys.modules["named_otherwise"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)

    def compute() -> int:
        import named_otherwise
        import zipped_package

        return int(named_otherwise.six() * zipped_package.seven())

    assert cluster(compute, depends=[zipped, plugin]).submit()() == 42
    assert cluster(zipped.seven).submit()() == 7
    assert cluster(plugin.six).submit()() == 6


def test_program_that_runs_from_a_zip_file_runs_functions_of_its_modules(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as file:
        file.writestr("mod.py", "def work(n): return n + 1\n")
        file.writestr(
            "__main__.py",
            "import gdispy, mod\n"
            "with gdispy.JobCluster(mod.work, nodes=['local']) as cluster:\n"
            "    print(cluster.submit(4)())\n",
        )
    done = subprocess.run([sys.executable, tmp_path / "app.pyz"], capture_output=True, text=True, timeout=60, cwd="/")
    assert (done.stdout, done.stderr) == ("5\n", "")


def test_data_is_read_beside_the_modules_and_in_the_working_directory(cluster: Make, program: Path) -> None:
    write(program / "with_data" / "__init__.py", "")
    write(program / "with_data" / "templates" / "a.txt", "inside")
    write(program / "templates" / "b.txt", "outside")
    sys.path.insert(0, str(program))
    package = importlib.import_module("with_data")

    def read() -> tuple[str, str]:
        import importlib.resources

        inside = importlib.resources.files("with_data") / "templates" / "a.txt"
        with open("templates/b.txt") as file:
            return inside.read_text(), file.read()

    made = cluster(read, depends=[str(package.__file__)], data=["templates/*.txt"])
    assert made.submit()() == ("inside", "outside")


def test_what_is_no_pattern_of_files_that_are_there_is_refused(program: Path, node: Daemon, secret_file: str) -> None:
    for kind in (JobCluster, SharedJobCluster):
        with pytest.raises(ConfigError, match=r"^data must be a list; write data=\['a'\]$"):
            kind(len, data="a", secret_file=secret_file)
        with pytest.raises(ConfigError, match=r"^data: no file matches 'none/\*'"):
            kind(len, data=["none/*"], secret_file=secret_file)
