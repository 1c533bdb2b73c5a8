"""Modules of the program -> the files from which a node imports them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from importlib.abc import Loader
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

from gdispy.client.module_sources import find, source_of
from gdispy.errors import ConfigError

Write = Callable[..., Path]
#: A package that imports its modules when they are first used.
LATE = """
def __getattr__(name):
    if name in ("base", "other"):
        from importlib import import_module
        return import_module("." + name, __name__)
    raise AttributeError(name)
"""


pytestmark = pytest.mark.usefixtures("modules_below")


def sent(tmp_path: Path, *names: str) -> dict[str, str]:
    """What goes along: path on the node -> path here, relative to the program's directory."""
    return {goal: os.path.relpath(str(path), tmp_path) for goal, path in find(names).files.items()}


# What is found


def test_module_brings_its_packages_and_what_its_code_imports_anywhere(write: Write, tmp_path: Path) -> None:
    write("pack/__init__.py", "from pack import first")
    write("pack/first.py", "def work():\n    from . import second\n    import unrelated.inner")
    write("pack/second.py", "import json, no_such_module\nfrom .first import work")
    write("pack/not_needed.py")
    write("pack/data.csv")
    write("unrelated/__init__.py")
    write("unrelated/inner.py")
    found = find(["pack.first"])
    assert found.modules == {"pack", "pack.first", "pack.second", "unrelated", "unrelated.inner"}
    assert sent(tmp_path, "pack.first") == {
        path: path
        for path in (
            *("pack/__init__.py", "pack/first.py", "pack/second.py"),
            *("unrelated/__init__.py", "unrelated/inner.py"),
        )
    }
    assert found.reasons["unrelated/inner.py"] == "pack.first imports it"
    assert "pack" not in sys.modules and "unrelated" not in sys.modules


def test_same_is_found_whether_modules_are_loaded_or_not(write: Write) -> None:
    write("pack/__init__.py", "__all__ = ['late']")
    write("pack/one.py", "import other_one")
    write("pack/late.py")
    write("other_one.py", "from pack import *")
    before = find(["pack.one"])
    importlib.import_module("pack.one")
    after = find(["pack.one"])
    assert after == before
    assert after.modules == {"pack", "pack.one", "pack.late", "other_one"}


def test_nothing_is_run_that_was_not_imported(write: Write) -> None:
    write("pack/__init__.py", "raise SystemError")
    write("pack/broken.py", "import also_broken\nraise SystemError")
    write("also_broken.py", "raise SystemError")
    assert find(["pack.broken"]).modules == {"pack", "pack.broken", "also_broken"}


def test_attribute_of_a_module_is_no_module(write: Write) -> None:
    write("plain.py", "x = 1")
    assert find(["plain.x", "plain"]).modules == {"plain"}


def test_python_packages_and_what_does_not_exist_are_left_out() -> None:
    found = find(["json.decoder", "pytest", "time", "no.such.module", "gdispy.config", "gdispy.new", "__main__", ""])
    assert (found.files, found.modules) == ({}, frozenset())


def test_module_that_hides_one_of_python_is_found_as_python_would(write: Write, tmp_path: Path) -> None:
    sys.modules.pop("colorsys", None)
    write("colorsys.py")
    write("time.py")  # Built in: Python never looks for it elsewhere.
    assert sent(tmp_path, "colorsys", "time") == {"colorsys.py": "colorsys.py"}


def test_module_that_must_not_be_imported_is_not_sent(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("blocked.py")
    monkeypatch.setitem(sys.modules, "blocked", None)  # type: ignore[arg-type]
    assert find(["blocked"]).files == {}


def test_file_that_this_python_cannot_read_is_sent_all_the_same(write: Write, tmp_path: Path) -> None:
    write("of_python_2.py", "print 'hello'")
    write("uses_it.py", "try:\n    import of_python_2\nexcept SyntaxError: pass")
    assert sorted(sent(tmp_path, "uses_it")) == ["of_python_2.py", "uses_it.py"]


def test_extension_of_the_program_is_sent(write: Write, tmp_path: Path) -> None:
    file = f"pack/fast{EXTENSION_SUFFIXES[0]}"
    write("pack/__init__.py")
    write(file)
    assert sent(tmp_path, "pack.fast") == {"pack/__init__.py": "pack/__init__.py", file: file}


def test_files_are_found_anew_when_they_have_changed(write: Write) -> None:
    write("changing.py", "import one_of_two")
    write("one_of_two.py")
    write("two_of_two.py")
    assert find(["changing"]).modules == {"changing", "one_of_two"}
    os.utime(write("changing.py", "import two_of_two"), ns=(1, 1))
    assert find(["changing"]).modules == {"changing", "two_of_two"}


# Where modules come from


@pytest.mark.parametrize("is_loaded", [False, True])
def test_all_portions_of_a_namespace_package_end_in_one_directory(
    write: Write, tmp_path: Path, is_loaded: bool
) -> None:
    write("a/space/one/mod.py", "import space.two")
    write("b/space/two.py")
    sys.path[:0] = [str(tmp_path / "a"), str(tmp_path / "b")]
    if is_loaded:
        importlib.import_module("space.one.mod")
    assert sent(tmp_path, "space.one.mod") == {
        "space/one/mod.py": "a/space/one/mod.py",
        "space/two.py": "b/space/two.py",
    }
    assert find(["space.one.mod"]).modules == {"space", "space.one", "space.one.mod", "space.two"}


@pytest.mark.parametrize("is_loaded", [False, True])
def test_modules_in_a_zip_file_go_as_their_source(tmp_path: Path, is_loaded: bool) -> None:
    text = b"# -*- coding: latin-1 -*-\nfrom . import other\nname = '\xe9'\n"
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as file:
        file.writestr("zipped/__init__.py", "")
        file.writestr("zipped/mod.py", text)
        file.writestr("zipped/other.py", "import json")
    sys.path.insert(0, str(tmp_path / "app.pyz"))
    if is_loaded:
        importlib.import_module("zipped.mod")
    expected = {"zipped/__init__.py": b"", "zipped/mod.py": text, "zipped/other.py": b"import json"}
    assert find(["zipped.mod"]).files == expected


def test_module_of_a_loader_of_the_program_goes_as_the_source_that_it_has() -> None:
    class FromTable(Loader):
        def get_source(self, name: str) -> str:
            return f"# coding: latin-1\nname = '{name} \xe9'\n"

        def exec_module(self, module: types.ModuleType) -> None: ...

    spec = importlib.util.spec_from_loader("from_table", FromTable())
    assert spec is not None
    sys.modules["from_table"] = importlib.util.module_from_spec(spec)
    assert find(["from_table"]).files == {"from_table.py": b"# coding: latin-1\nname = 'from_table \xe9'\n"}


def test_module_that_was_loaded_under_another_name_is_found_by_that_on_the_node(write: Write, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("plugins.first", write("plugin-1.py"))
    assert spec is not None
    module = sys.modules["plugins.first"] = importlib.util.module_from_spec(spec)
    assert sent(tmp_path, "plugins.first") == {"plugins/first.py": "plugin-1.py"}
    assert source_of("plugins.first", module) == ("plugins/first.py", str(tmp_path / "plugin-1.py"))


def test_module_without_any_source_is_refused_where_the_computation_needs_it(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    sys.modules["made_by_hand"] = types.ModuleType("made_by_hand")
    with pytest.raises(ConfigError, match=r"the module made_by_hand has no source.*save it in a file, or install"):
        find(["made_by_hand"])
    write("uses_it.py", "import made_by_hand")
    assert find(["uses_it"]).modules == {"uses_it"}
    assert caplog.messages == [
        "the module made_by_hand has no source that can be sent to nodes: "
        "jobs find it only if another module creates it"
    ]


def test_compiled_module_without_its_source_goes_as_it_is(write: Write, tmp_path: Path) -> None:
    import py_compile

    py_compile.compile(str(write("only_compiled.py", "x = 1")), str(tmp_path / "only_compiled.pyc"))
    (tmp_path / "only_compiled.py").unlink()
    importlib.invalidate_caches()
    for _ in range(2):
        assert find(["only_compiled"]).files == {"only_compiled.pyc": str(tmp_path / "only_compiled.pyc")}
        importlib.import_module("only_compiled")


def test_module_that_another_one_makes_is_made_there_too(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    write("old_six.py", "import sys, types\nsys.modules['old_six.moves'] = types.ModuleType('old_six.moves')")
    importlib.import_module("old_six")
    assert find(["old_six.moves"]).modules == {"old_six"}
    assert caplog.messages == []


def test_finder_that_fails_is_passed_over(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, *_: Any) -> None:
            raise ValueError

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    write("behind.py")
    assert find(["behind"]).modules == {"behind"}


def test_node_can_import_what_was_found_and_nothing_else(write: Write, tmp_path: Path) -> None:
    write("here/pack/__init__.py", "from .core import base")
    write("here/pack/core/__init__.py", LATE)
    write("here/pack/core/base.py", "import helper\nvalue = helper.value + 1")
    write("here/helper.py", "value = 1")
    sys.path.insert(0, str(tmp_path / "here"))
    for goal, path in find(["pack"]).files.items():
        assert isinstance(path, str)
        write(f"there/{goal}", Path(path).read_text())
    code = "import pack; print(pack.base.value)"
    there = tmp_path / "there"
    done = subprocess.run([sys.executable, "-c", code], cwd=there, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("2\n", "")
