"""Which modules are the program's own, by where their files lie."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gdispy.worker.own_modules import (
    InstalledPlaces,
    OwnModules,
    is_own,
    own_names,
    places_of_this_python,
    portions_of,
)

pytestmark = pytest.mark.usefixtures("fresh_modules")


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def found_in(directory: Path | str, name: str) -> types.ModuleType:
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    return importlib.import_module(name)


def made(name: str, file: str | None = None, **values: Any) -> types.ModuleType:
    """A module that nothing has loaded."""
    module = sys.modules[name] = types.ModuleType(name)
    vars(module).update(values)
    if file is not None:
        module.__file__ = file
    return module


def with_packages(*packages: Path, library: Path) -> OwnModules:
    return OwnModules(InstalledPlaces([str(library)], map(str, packages)))


# Where files lie


@pytest.mark.parametrize(
    "name",
    [
        *(
            "json",
            "json.decoder",
            "os",
            "os.path",
            "sys",
            "builtins",
            "zipimport",
            "_frozen_importlib",
            "importlib._bootstrap",
        ),
        *("pytest", "msgpack", "gdispy", "gdispy.worker.own_modules", "__main__", "no_such_module"),
    ],
)
def test_what_python_and_packages_brought_is_not_the_programs_own(name: str) -> None:
    assert is_own(name) is False


def test_extension_of_python_is_not_the_programs_own() -> None:
    importlib.import_module("_testcapi" if importlib.util.find_spec("_testcapi") else "_json")
    assert not is_own("_testcapi") and not is_own("_json")


def test_module_and_package_of_the_program_are_its_own(tmp_path: Path) -> None:
    write(tmp_path / "alone.py")
    write(tmp_path / "pack" / "__init__.py")
    write(tmp_path / "pack" / "inner.py")
    for name in ("alone", "pack", "pack.inner"):
        found_in(tmp_path, name)
        assert is_own(name) is True


def test_module_with_the_name_of_one_of_python_is_its_own_where_its_file_is(tmp_path: Path) -> None:
    sys.modules.pop("colorsys", None)
    write(tmp_path / "colorsys.py")
    found_in(tmp_path, "colorsys")
    assert is_own("colorsys")


def test_environment_inside_the_directory_of_the_program_holds_installed_modules(tmp_path: Path) -> None:
    packages = tmp_path / ".venv" / "lib" / "python3.12" / "site-packages"
    write(packages / "installed_there.py")
    write(packages / "pack_there" / "__init__.py")
    found_in(packages, "installed_there")
    found_in(packages, "pack_there")
    assert not is_own("installed_there") and not is_own("pack_there")


def test_program_inside_an_environment_is_its_own_outside_of_the_packages(tmp_path: Path) -> None:
    library = tmp_path / "venv" / "lib" / "python3.11"
    packages = library / "site-packages"
    write(packages / "__init__.py")
    write(tmp_path / "venv" / "project" / "within_prefix.py")
    own = with_packages(packages, library=library)
    found_in(tmp_path / "venv" / "project", "within_prefix")
    assert own.is_own("within_prefix")
    made("beside", str(tmp_path / "venv" / "lib" / "python3.11x" / "beside.py"))
    assert own.is_own("beside")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/usr/lib/python3/dist-packages/apt/cache.py", False),
        ("/usr/local/lib/python3.11/dist-packages/one.py", False),
        ("/home/somebody/.local/lib/python3.11/site-packages/one.py", False),
        ("/opt/pypy/lib/pypy3.10/site-packages/one.py", False),
        ("/opt/x/lib/python3.11/site-packages/one-1.0-py3.11.egg/one/__init__.py", False),
        ("/home/somebody/.shiv/app_1/site-packages/app/main.py", True),
        ("/home/somebody/site-packages.py", True),
        ("/home/somebody/libpython3/site-packages-of-mine/one.py", True),
    ],
)
def test_directories_of_packages_of_any_environment_are_known(path: str, expected: bool) -> None:
    made("somewhere", path)
    assert is_own("somewhere") is expected


def test_directory_of_packages_that_this_python_has_elsewhere(tmp_path: Path) -> None:
    own = with_packages(tmp_path / "elsewhere", library=tmp_path / "library")
    made("one", str(tmp_path / "elsewhere" / "one.py"))
    made("two", str(tmp_path / "library" / "deep" / "two.py"))
    made("three", str(tmp_path / "elsewhere_too" / "three.py"))
    assert [own.is_own(name) for name in ("one", "two", "three")] == [False, False, True]


def test_places_of_this_python_hold_its_library_and_its_packages() -> None:
    places = places_of_this_python()
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        assert places.hold(os.path.join(sysconfig.get_path(name), "some", "module.py")), name


# Links


def test_package_that_is_linked_into_the_packages_is_the_programs_own(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    write(tmp_path / "project" / "worked_on" / "__init__.py")
    write(tmp_path / "project" / "alone.py")
    packages.mkdir()
    (packages / "worked_on").symlink_to(tmp_path / "project" / "worked_on")
    (packages / "alone.py").symlink_to(tmp_path / "project" / "alone.py")
    own = with_packages(packages, library=tmp_path / "library")
    for name in ("worked_on", "alone"):
        found_in(packages, name)
        assert own.is_own(name) is True


def test_packages_that_are_reached_by_a_link_are_installed(tmp_path: Path) -> None:
    write(tmp_path / "packages" / "linked_pack" / "__init__.py")
    (tmp_path / "link").symlink_to(tmp_path / "packages")
    own = with_packages(tmp_path / "packages", library=tmp_path / "library")
    found_in(tmp_path / "link", "linked_pack")
    assert own.is_own("linked_pack") is False


# Without files, and from elsewhere


def test_each_portion_of_a_namespace_package_is_judged_by_where_it_is(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    write(packages / "shared_space" / "installed" / "__init__.py")
    write(packages / "only_installed" / "deep" / "mod.py")
    write(tmp_path / "project" / "shared_space" / "mine.py")
    sys.path[:0] = [str(packages), str(tmp_path / "project")]
    importlib.invalidate_caches()
    for name in ("shared_space.installed", "shared_space.mine", "only_installed.deep.mod"):
        importlib.import_module(name)
    assert is_own("shared_space") and is_own("shared_space.mine")
    assert not is_own("shared_space.installed")
    assert not is_own("only_installed") and not is_own("only_installed.deep")
    assert portions_of(sys.modules["shared_space"]) == [
        str(packages / "shared_space"),
        str(tmp_path / "project" / "shared_space"),
    ]


def test_module_in_a_zip_file_is_the_programs_own_but_not_in_one_that_was_installed(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    for place, name in ((tmp_path / "app.pyz", "zipped_own"), (packages / "egg.egg", "zipped_installed")):
        with zipfile.ZipFile(place, "w") as file:
            file.writestr(f"{name}.py", "")
        found_in(place, name)
    assert is_own("zipped_own") is True
    assert is_own("zipped_installed") is False


def test_module_that_was_loaded_under_another_name_is_the_programs_own(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("other_name", write(tmp_path / "plugin-1.py"))
    assert spec is not None and spec.loader is not None
    sys.modules["other_name"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["other_name"])
    assert is_own("other_name")


def test_module_that_was_made_by_hand_is_the_programs_own() -> None:
    made("made_by_hand", work=1)
    assert is_own("made_by_hand")


@pytest.mark.parametrize("name", ["pytest.made", "json.made.deeper", "_cython_3_0_11", "cython_runtime"])
def test_module_that_a_package_has_made_is_not(name: str) -> None:
    made(name)
    assert is_own(name) is False


def test_class_in_the_place_of_a_module_belongs_to_the_package_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "json.io", type("io", (), {}))  # As `typing.io` of Python 3.10.
    assert is_own("json.io") is False


def test_object_in_the_place_of_a_module_is_where_its_class_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    class Settings:
        __slots__ = ()

        def read(self) -> None: ...

    monkeypatch.setitem(sys.modules, "settings_of_test", Settings())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "no_module_at_all", None)  # type: ignore[arg-type]
    assert is_own("settings_of_test") is True
    assert is_own("no_module_at_all") is False


def test_module_that_is_loaded_on_first_use_is_not_loaded_by_looking(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("lazy_one", write(tmp_path / "lazy_one.py", "raise SystemError"))
    assert spec is not None and spec.loader is not None
    loader = spec.loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules["lazy_one"] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    assert is_own("lazy_one")


# What is remembered


def test_module_that_takes_the_place_of_another_is_looked_at_again() -> None:
    made("changing", "/home/somebody/changing.py")
    assert is_own("changing")
    made("changing", "/usr/lib/python3/dist-packages/changing.py")
    assert not is_own("changing")
    del sys.modules["changing"]
    assert not is_own("changing")
    made("changing", "/home/somebody/changing.py")
    assert is_own("changing")


def test_names_of_own_modules_follow_what_is_imported_and_replaced() -> None:
    assert not {b"one_more", b"json", b"gdispy", b"__main__"} & own_names()
    made("one_more")
    assert b"one_more" in own_names()
    assert own_names() is own_names()
    del sys.modules["one_more"]
    made("caf\u00e9")
    names = own_names()
    assert "caf\u00e9".encode() in names and b"one_more" not in names
