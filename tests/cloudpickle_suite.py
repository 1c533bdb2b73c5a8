"""Run cloudpickle's own tests with gdispy's `dumps` and `loads` in the place of cloudpickle's.

    .venv/bin/python tests/cloudpickle_suite.py [--suite FOLDER] [--list]

FOLDER is an unpacked source distribution, or a clone, of cloudpickle that has its tests. Without it, the last source
distribution that holds tests is downloaded with pip, into a temporary folder.

In a throw-away environment cloudpickle and the package of its tests are installed, and its functions are replaced,
before the tests are imported and in every process that the tests start (see support/cloudpickle_stand_in.py).
How tests are counted: each method of CloudPickleTest twice, as the suite runs it, once for each of two protocols,
although gdispy has only one; each other test once. Not counted are those that pytest skips (for want of scipy, tornado
and the like) and those in NOT_APPLICABLE; those in EXPLAINED are. With that the suite has 241 tests.
Exit status: 0 where at least FLOOR tests pass, 1 where fewer do, 2 where the tests cannot be run.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import xml.etree.ElementTree
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Later source distributions hold no tests.
SOURCE = "cloudpickle==2.2.1"
#: Seconds for the download, for all tests, and for one.
DOWNLOAD, ALL, ONE = 120, 400, 60
#: How many of them pass at least.
FLOOR = 225

#: Tests of what only cloudpickle has: name -> why they do not apply.
NOT_APPLICABLE = dict.fromkeys(
    (
        "test_register_pickle_by_value",
        "test_pickle_constructs_from_module_registered_for_pickling_by_value",
        "test_pickle_constructs_from_installed_packages_registered_for_pickling_by_value",
    ),
    "register_pickle_by_value is cloudpickle's own; gdispy has `by_value` at the cluster",
)
_FILES = "an open file is refused on purpose, as the other end would have a copy of its text and not the file"
_SAME = "a function that comes back to its own process is the same function there, with its own globals, and no copy"
#: Tests that may fail: name -> why.
EXPLAINED = {
    "test_empty_file": _FILES,
    "test_plus_mode": _FILES,
    "test_r_mode": _FILES,
    "test_seek": _FILES,
    "test_closed_file": "a closed file arrives closed, and is not refused",
    "test_pickling_special_file_handles": "sys.stdin arrives as that of the process, and is not refused",
    "test_closure_interacting_with_a_global_variable": _SAME,
    "test_interactively_defined_global_variable": _SAME,
    "test_submodule": _SAME,
    "test_out_of_band_buffers": "asks for the parameter buffer_callback; gdispy lays large buffers aside by itself",
    "test_pickle_various_versions_of_the_same_function_with_different_pickling_method": (
        "calls register_pickle_by_value between two of its calls"
    ),
}
if sys.version_info >= (3, 12):
    EXPLAINED["test_module_importability"] = "imports distutils, which this Python has no more"
if sys.version_info >= (3, 13):
    EXPLAINED["test_extract_class_dict"] = (
        "does not know what classes of this Python have; cloudpickle fails in it, too"
    )


class NoSuite(Exception):
    """The tests are not to be had; the text says why."""


@dataclasses.dataclass
class Outcome:
    """How one test ended: `passed`, `failed` or `skipped`, and the last words of why."""

    name: str
    ending: str
    reason: str = ""

    @property
    def bare(self) -> str:
        """The name without the class."""
        return self.name.rpartition("::")[2]


@dataclasses.dataclass
class Count:
    """The tests that count, and how they ended."""

    passed: list[Outcome]
    explained: list[Outcome]
    surprises: list[Outcome]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Count:
        counted = [each for each in outcomes if each.ending != "skipped" and each.bare not in NOT_APPLICABLE]
        failed = [each for each in counted if each.ending == "failed"]
        return cls(
            [each for each in counted if each.ending == "passed"],
            [each for each in failed if each.bare in EXPLAINED],
            [each for each in failed if each.bare not in EXPLAINED],
        )

    def __str__(self) -> str:
        total = len(self.passed) + len(self.explained) + len(self.surprises)
        lines = [f"failed: {each.name}: {each.reason}" for each in self.surprises]
        lines += [f"failed, as explained: {each.name}: {EXPLAINED[each.bare]}" for each in self.explained]
        return "\n".join([*lines, f"passed {len(self.passed)} of {total} applicable, floor {FLOOR}"])


def download(folder: Path) -> Path:
    """The source distribution, unpacked in a folder."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "cloudpickle", "--dest", str(folder), SOURCE]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=DOWNLOAD)
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or ""
        raise NoSuite(f"{SOURCE} cannot be downloaded: {error}\n{said}") from None
    (archive,) = folder.glob("cloudpickle-*.tar.gz")
    with tarfile.open(archive) as opened:
        if hasattr(tarfile, "data_filter"):
            opened.extractall(folder, filter="data")
        else:  # Python 3.10 and 3.11, as they were first.
            opened.extractall(folder)
    return folder / archive.name.removesuffix(".tar.gz")


class Environment:
    """A venv which holds what this one holds, cloudpickle with other functions, and the package of its tests; and
    beside it the tests. They find their cloudpickle there, as it is not beside them."""

    def __init__(self, folder: Path, suite: Path) -> None:
        if not (suite / "tests" / "cloudpickle_test.py").exists():
            raise NoSuite(f"{suite} holds no tests of cloudpickle")
        self.folder = folder
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        ours = sysconfig.get_path("purelib")
        (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
        shutil.copytree(suite / "cloudpickle", site / "cloudpickle")
        package = "_cloudpickle_testpkg"
        shutil.copytree(suite / "tests" / "cloudpickle_testpkg" / package, site / package)
        shutil.copy(HERE / "support" / "cloudpickle_stand_in.py", site)
        with open(site / "cloudpickle" / "__init__.py", "a") as file:
            file.write("\nimport cloudpickle_stand_in\ncloudpickle_stand_in.take_over()\n")
        shutil.copytree(suite / "tests", folder / "suite" / "tests")

    def run(self, words: list[str]) -> list[Outcome]:
        report = self.folder / "report.xml"
        command = [str(self.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", str(ONE)]
        command += ["-c", os.devnull, "--rootdir", ".", "--junit-xml", str(report), *words]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
        with open(self.folder / "output", "wb") as output:
            process = subprocess.Popen(
                [*command, "tests/cloudpickle_test.py", "tests/cloudpickle_file_test.py"],
                cwd=self.folder / "suite",
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            try:
                process.wait(ALL)
            except subprocess.TimeoutExpired:
                raise NoSuite(f"the tests take more than {ALL} s\n{self.output()}") from None
            finally:
                process.kill()
                process.wait()
        if process.returncode not in (0, 1) or not report.exists():
            raise NoSuite(f"pytest ended with {process.returncode}\n{self.output()}")
        return [_outcome(case) for case in xml.etree.ElementTree.parse(report).iter("testcase")]

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")


def _outcome(case: xml.etree.ElementTree.Element) -> Outcome:
    name = f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}"
    for tag, ending in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            said = (found.get("message") or found.text or "").strip().splitlines()
            return Outcome(name, ending, said[0][:200] if said else "")
    return Outcome(name, "passed")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Run cloudpickle's own tests with gdispy's functions.")
    parser.add_argument("--suite", type=Path, help="a folder with cloudpickle and its tests, else it is downloaded")
    parser.add_argument("--list", action="store_true", help="say of each test how it ended")
    parser.add_argument("--show", action="store_true", help="what pytest printed")
    parser.add_argument("words", nargs="*", help="options of pytest, after --")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="cloudpickle-suite-") as made:
        folder = Path(made)
        try:
            environment = Environment(folder, options.suite or download(folder))
            outcomes = environment.run(options.words)
        except NoSuite as error:
            print(error, file=sys.stderr)
            return 2
        if options.show:
            print(environment.output())
    if options.list:
        print(*sorted(f"{each.ending} {each.name} {each.reason}" for each in outcomes), sep="\n")
    count = Count.of(outcomes)
    print(count)
    return int(len(count.passed) < FLOOR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
