"""What a user wants to run -> the message that has a node load it, or a ConfigError that says why not."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import os
import socket
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy.client import packaging as module_under_test
from gdispy.client.packaging import INLINE, ComputationOptions, bulk, checked_data, is_program, prepare, read_files
from gdispy.errors import ConfigError
from gdispy.protocol.messages import Prepare, from_values
from gdispy.protocol.payload import MemoryPayload
from gdispy.protocol.wire import FilePayload
from gdispy.worker import pickling


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_modules: None) -> Path:
    """The user's directory, from where the program runs and imports its modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def module(here: Path) -> Any:
    """Writes a module of the user and imports it."""
    made: list[str] = []

    def make(name: str, text: str) -> types.ModuleType:
        path = here / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        dotted = name.replace("/", ".").removesuffix(".__init__")
        made.append(dotted)
        return importlib.import_module(dotted)

    yield make
    for name in made:
        sys.modules.pop(name, None)


def prepared(
    computation: Any, depends: Any = (), isolation: str = "", directory: str = "", cleanup: bool = True
) -> Prepare:
    message, _ = prepare(computation, depends, ComputationOptions(isolation, directory, removes=cleanup))
    assert from_values(message.values()) == message
    return message


def paths(message: Prepare) -> list[str]:
    return sorted(row[0] for row in message.files)


def loaded(message: Prepare) -> Any:
    body = message.body
    return pickling.loads(bytearray(body if isinstance(body, bytes) else b"".join(body.parts())))  # type: ignore[attr-defined]


# Functions


def test_function_travels_with_its_name_and_the_version_of_python() -> None:
    message = prepared(len)
    assert (message.name, message.kind, message.isolation, message.directory) == ("len", "function", "", "")
    assert message.python == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (message.cleanup, message.files, message.contents) == (True, [], [])
    assert loaded(message)[0]([1, 2]) == 2


def test_each_computation_has_a_number_of_its_own() -> None:
    assert prepared(len).computation != prepared(len).computation


def test_settings_travel_along() -> None:
    message = prepared(len, isolation="job", directory="/a/b/", cleanup=False)
    assert (message.isolation, message.directory, message.cleanup) == ("job", "a/b", False)


def test_lambda_partial_and_object_that_can_be_called_travel() -> None:
    class Caller:
        def __call__(self) -> int:
            return 5

    assert prepared(lambda: 3).name == "<lambda>"
    partial = prepared(functools.partial(functools.partial(max, 1), 2))
    assert (partial.name, loaded(partial)[0](0)) == ("max", 2)
    caller = prepared(Caller())
    assert (caller.name, loaded(caller)[0]()) == ("Caller", 5)


@pytest.mark.parametrize(
    "pick",
    [
        pytest.param(lambda own: own.work, id="function"),
        pytest.param(lambda own: functools.partial(own.work, 1), id="partial"),
        pytest.param(lambda own: own.Worker, id="class"),
        pytest.param(lambda own: own.Worker(), id="object"),
        pytest.param(lambda own: own.Worker().method, id="method"),
        pytest.param(lambda own: own.Worker.of_class, id="class method"),
        pytest.param(lambda own: own.Worker.static, id="static method"),
        pytest.param(lambda own: functools.partial(own.Worker().method, 1), id="partial of a method"),
    ],
)
def test_module_of_a_computation_stays_here(module: Any, pick: Callable[[Any], Any]) -> None:
    own = module(
        "own_module",
        "def work(x): return x\n"
        "class Worker:\n"
        "    def __call__(self): return 1\n"
        "    def method(self, x): return x\n"
        "    @classmethod\n"
        "    def of_class(cls): return 1\n"
        "    @staticmethod\n"
        "    def static(): return 1\n",
    )
    assert paths(prepared(pick(own))) == []


def test_package_as_a_dependency_goes_as_a_whole_without_compiled_files(module: Any, here: Path) -> None:
    module("own_package/__init__", "")
    own = module("own_package/inner/__init__", "def work(): pass")
    module("own_package/other", "")
    (here / "own_package" / "data.txt").write_text("data")
    (here / "own_package" / ".hidden").write_text("hidden")
    (here / "own_package" / ".git").mkdir()
    (here / "own_package" / ".git" / "config").write_text("config")
    assert paths(prepared(own.work, [own])) == [
        "own_package/__init__.py",
        "own_package/data.txt",
        "own_package/inner/__init__.py",
        "own_package/other.py",
    ]


def test_installed_module_stays_here() -> None:
    assert prepared(pytest.raises).files == []
    assert prepared(os.path.join).files == []
    assert prepared(prepare).files == []


def test_body_that_is_large_travels_as_a_payload() -> None:
    ballast = "x" * (2 * INLINE)
    message = prepared(lambda: ballast)
    assert isinstance(message.body, MemoryPayload)
    assert loaded(message)[0]() == ballast


# Dependencies


def test_file_keeps_its_place_below_the_current_directory(here: Path) -> None:
    (here / "data").mkdir()
    path = here / "data" / "a.txt"
    path.write_text("hello")
    path.chmod(0o4755)
    os.utime(path, (1.5, 1.5))
    message = prepared(len, ["data/a.txt"])
    assert message.files == [["data/a.txt", 0o755, 1.5, 5, hashlib.blake2b(b"hello", digest_size=32).digest()]]
    [content] = message.contents
    assert not isinstance(content, bytes)
    assert (content.size, content.read(0, 100)) == (5, b"hello")


def test_file_from_elsewhere_arrives_under_its_own_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("elsewhere") / "b.txt"
    path.write_text("b")
    assert paths(prepared(len, [str(path)])) == paths(prepared(len, [path])) == ["b.txt"]


def test_same_file_named_twice_is_sent_once(here: Path) -> None:
    (here / "a.txt").write_text("a")
    assert paths(prepared(len, ["a.txt", here / "a.txt", "./a.txt"])) == ["a.txt"]


def test_module_as_dependency_is_sent(module: Any) -> None:
    own = module("own_module", "x = 1")
    assert paths(prepared(len, [own])) == ["own_module.py"]


def test_package_without_init_is_sent(module: Any, here: Path) -> None:
    own = module("own_space/inner", "x = 1")
    assert paths(prepared(len, [own])) == ["own_space/inner.py"]


def test_each_portion_of_a_namespace_package_is_sent(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("a/space/one/mod.py", "a/space/data.txt", "b/space/two.py"):
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_text(path)
        monkeypatch.syspath_prepend(str(here / path.partition("/")[0]))
    importlib.import_module("space.one")
    assert paths(prepared(len, [sys.modules["space"]])) == ["space/data.txt", "space/one/mod.py", "space/two.py"]
    assert paths(prepared(len, [sys.modules["space.one"]])) == ["space/data.txt", "space/one/mod.py", "space/two.py"]


def test_modules_in_a_zip_file_are_sent_as_what_they_hold(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path_factory.mktemp("app") / "app.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        for name, text in (("alone_zipped.py", "x = 1"), ("zipped/__init__.py", ""), ("zipped/data.txt", "data")):
            file.writestr(name, text)
        file.writestr("zipped/sub/__init__.py", "")
        file.writestr("zipped/sub/mod.py", "def work(): return 5")
        file.writestr("zipped/__pycache__/mod.pyc", "")
        file.writestr("zipped_too/no.py", "")
    monkeypatch.syspath_prepend(str(archive))
    modules = [importlib.import_module(name) for name in ("alone_zipped", "zipped", "zipped.sub.mod")]
    message = prepared(len, modules[:2])
    assert paths(message) == [
        *("alone_zipped.py", "zipped/__init__.py", "zipped/data.txt", "zipped/sub/__init__.py", "zipped/sub/mod.py")
    ]
    place = [row[0] for row in message.files].index("zipped/data.txt")
    content, row = message.contents[place], message.files[place]
    assert isinstance(content, FilePayload)
    assert bytes(content.read(0, 100)) == b"data"
    assert row[1:2] + row[3:] == [0o644, 4, hashlib.blake2b(b"data", digest_size=32).digest()]
    assert paths(prepared(modules[2].work)) == []


def test_file_from_memory_has_another_date_where_it_holds_something_else() -> None:
    """Else Python would take what it has compiled of a former one."""
    dates = [read_files({"mod.py": text})[0][0][2] for text in (b"x = 1", b"x = 2", b"x = 1")]
    assert dates[0] == dates[2] != dates[1]
    assert all(0 <= date < 2**30 for date in dates)


def test_module_that_was_loaded_under_another_name_is_sent_under_that(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "plugins" / "first").mkdir(parents=True)
    for name in ("plugin-1.py", "plugins/first/__init__.py", "plugins/first/inner.py"):
        (here / name).write_text("")
    for name, path in (("other_name", "plugin-1.py"), ("other_package", "plugins/first/__init__.py")):
        spec = importlib.util.spec_from_file_location(name, here / path)
        assert spec is not None
        monkeypatch.setitem(sys.modules, name, importlib.util.module_from_spec(spec))
    message = prepared(len, [sys.modules["other_name"], sys.modules["other_package"]])
    assert paths(message) == ["other_name.py", "other_package/__init__.py", "other_package/inner.py"]


def test_what_is_no_file_in_a_package_is_left_out_and_said(
    module: Any, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = module("odd_package/__init__", "")
    os.mkfifo(here / "odd_package" / "pipe")
    (here / "odd_package" / "link").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("odd_package/socket")
        assert paths(prepared(len, [own])) == ["odd_package/__init__.py"]
    folder = here / "odd_package"
    assert caplog.messages == [
        f"{folder}/link is left out: it is a broken link",
        f"{folder}/pipe is left out: it is a named pipe",
        f"{folder}/socket is left out: it is a socket",
    ]


def test_linked_directory_of_a_package_is_followed_but_not_in_a_circle(
    module: Any, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = module("linking_package/__init__", "")
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "common.py").write_text("")
    (here / "linking_package" / "common").symlink_to(here / "elsewhere")
    (here / "elsewhere" / "up").symlink_to(here / "linking_package")
    (here / "elsewhere" / "same").symlink_to(here / "elsewhere")
    assert paths(prepared(len, [own])) == ["linking_package/__init__.py", "linking_package/common/common.py"]


def test_data_goes_to_the_same_place(module: Any, here: Path) -> None:
    module("own_package/__init__", "")
    for path in ("own_package/templates/a.txt", "templates/b.txt", "templates/c.csv"):
        (here / path).parent.mkdir(exist_ok=True)
        (here / path).write_text("")
    message = prepare(len, [], ComputationOptions(data=checked_data([Path("templates/*.txt")])))[0]
    assert paths(message) == ["own_package/templates/a.txt", "templates/b.txt"]
    assert paths(prepare(len, ["templates/b.txt"], ComputationOptions(data=("templates",)))[0]) == [
        *("own_package/templates/a.txt", "templates/b.txt", "templates/c.csv")
    ]


@pytest.mark.parametrize("data", [None, (), [], iter(())])
def test_no_data_may_be_written_in_any_way(data: Any) -> None:
    assert checked_data(data) == ()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("a.txt", "data must be a list; write data=['a.txt']"),
        (7, "data must be a list, not int"),
        ([7], "data must list patterns such as 'templates/*.txt', not int: 7"),
        ([b"a"], "data must list patterns such as 'templates/*.txt', not bytes: b'a'"),
        ([""], "data: '' is not a valid pattern"),
    ],
)
def test_data_of_another_kind_is_refused(data: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_data(data)
    assert str(caught.value) == words


def test_function_and_class_as_dependencies_are_given_by_name(module: Any) -> None:
    own = module("own_module", "def helper(): return 3\nclass Thing: pass\n")
    message = prepared(len, [own.helper, own.Thing])
    names = loaded(message)[1]
    assert (names["helper"](), names["Thing"]) == (3, own.Thing)
    assert paths(message) == []


def test_partial_and_method_as_dependencies_stand_for_what_is_behind_them(module: Any) -> None:
    own = module("own_module", "def helper(): pass\nclass Thing:\n    def method(self): pass\n")
    names = loaded(prepared(len, [functools.partial(own.helper), own.Thing().method]))[1]
    assert sorted(names) == ["Thing", "helper"]


def test_class_method_as_dependency_stands_for_its_class(module: Any) -> None:
    own = module("own_module", "class Thing:\n    @classmethod\n    def of_class(cls): pass\n")
    message = prepared(len, [own.Thing.of_class])
    assert (sorted(loaded(message)[1]), paths(message)) == (["Thing"], [])


@pytest.mark.parametrize("depends", [None, (), [], set(), iter(())])
def test_no_dependencies_may_be_written_in_any_way(depends: Any) -> None:
    assert prepared(len, depends).files == []


# Programs


def test_program_travels_as_a_file_under_its_name(here: Path) -> None:
    path = here / "bin" / "run.sh"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    for each in ("bin/run.sh", path):
        message = prepared(each)
        assert (message.name, message.kind, message.python, message.body) == ("run.sh", "program", "", b"")
        assert paths(message) == ["run.sh"]


def test_program_is_found_in_the_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = here / "bin"
    folder.mkdir()
    (folder / "own-tool").write_text("#!/bin/sh\n")
    (folder / "own-tool").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    assert prepared("own-tool").name == "own-tool"


@pytest.mark.parametrize(("value", "program"), [("a", True), (Path("a"), True), (len, False), (int, False)])
def test_paths_are_programs_and_what_can_be_called_is_not(value: Any, program: bool) -> None:
    assert is_program(value) is program


# What cannot be sent, in words


def sentence(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        prepared(*args, **kwargs)
    return str(caught.value)


def test_computation_that_cannot_be_called_is_refused() -> None:
    assert sentence(7) == ("computation must be a function (or another callable) or the path of a program, not int")


def test_function_that_returns_what_cannot_travel_is_refused() -> None:
    async def later(number: int) -> int:
        return number

    def numbers() -> Iterator[int]:
        yield 1

    assert sentence(later) == "later is a coroutine function: use a function that runs it, for example with asyncio.run"
    assert sentence(functools.partial(later, 1)).startswith("later is a coroutine function")
    assert sentence(numbers) == "numbers is a generator function: use a function that returns a list"


def test_function_that_cannot_be_copied_is_refused() -> None:
    numbers = (number for number in ())
    assert sentence(lambda: numbers).startswith("<lambda> cannot be sent to nodes: TypeError: ")
    assert sentence(lambda: numbers).endswith("create that inside the function")


def test_program_that_does_not_exist_is_refused() -> None:
    assert sentence("./no-such") == "the program ./no-such does not exist, here or in PATH"


def test_program_that_is_a_directory_is_refused(here: Path) -> None:
    (here / "folder").mkdir()
    assert sentence("./folder") == "the program ./folder is not a file"


def test_program_that_is_not_executable_is_refused(here: Path) -> None:
    (here / "run.sh").write_text("")
    assert sentence("run.sh") == "the program run.sh is not executable: run chmod +x run.sh"


def test_one_dependency_that_is_not_in_a_list_is_refused() -> None:
    assert sentence(len, "a.txt") == "depends must be a list; write depends=['a.txt']"
    assert sentence(len, Path("a.txt")) == "depends must be a list; write depends=['a.txt']"
    assert sentence(len, 7) == "depends must be a list, not int"


def test_dependency_of_another_kind_is_refused() -> None:
    assert sentence(len, [7]) == "a dependency must be a file's path, a module, a function or a class, not int: 7"


def test_dependency_that_does_not_exist_is_refused() -> None:
    assert sentence(len, ["no.txt"]) == "the dependency no.txt does not exist"


def test_directory_as_dependency_is_refused(here: Path) -> None:
    (here / "data").mkdir()
    assert sentence(len, ["data"]) == "the dependency data is not a file: list its files individually"


def test_dependency_whose_name_no_node_takes_is_refused(here: Path) -> None:
    (here / "a:b").write_text("")
    (here / ".gdispy-x").write_text("")
    assert sentence(len, ["a:b"]).startswith("a dependency cannot be sent: a character of this file name")
    assert sentence(len, [".gdispy-x"]).startswith("a dependency cannot be sent: not a name for a file here")


def test_two_files_that_would_become_one_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    first = tmp_path_factory.mktemp("first") / "a.txt"
    second = tmp_path_factory.mktemp("second") / "a.txt"
    first.write_text("1")
    second.write_text("2")
    assert sentence(len, [first, second]) == (f"two dependencies would be one file on the nodes: {first} and {second}")


def test_module_without_a_file_is_refused() -> None:
    assert sentence(len, [sys]) == "the module sys has no file that can be sent"


def test_dependency_that_cannot_be_read_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    (here / "a.txt").write_text("")
    monkeypatch.setattr(module_under_test, "digest_of", refuse)
    assert sentence(len, ["a.txt"]) == f"the dependency {here / 'a.txt'} cannot be read: Permission denied"


def test_directory_that_looks_absolute_is_taken_as_relative_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    assert prepared(len, directory="/a/b").directory == "a/b"
    assert caplog.messages == ["dest_path '/a/b' is used as 'a/b': it is relative to the directory of each node"]
    caplog.clear()
    assert prepared(len, directory="a/b").directory == "a/b" and prepared(len, directory="").directory == ""
    assert caplog.messages == []


@pytest.mark.parametrize("directory", ["..", "a/../b", "a//b", ".gdispy", "a:b", "/"])
def test_directory_that_leads_elsewhere_is_refused(directory: str) -> None:
    assert sentence(len, directory=directory).startswith("dest_path must be a relative directory: ")


def test_directory_that_is_no_text_is_refused() -> None:
    assert sentence(len, directory=Path("a")) == f"dest_path must be text, not {type(Path('a')).__name__}"


# Payloads as fields


def test_small_payload_lies_in_the_message_and_a_large_one_beside_it() -> None:
    assert bulk(b"x" * INLINE) == b"x" * INLINE
    large = bulk(b"x" * (INLINE + 1))
    assert isinstance(large, MemoryPayload)
    assert large.size == INLINE + 1
    parts = bulk([b"ab", b"c"])
    assert isinstance(parts, MemoryPayload)
    assert b"".join(parts.parts()) == b"abc"


def test_function_that_drags_large_data_along_is_sent_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    large = bytes(11_000_000)
    assert prepare(lambda: len(large), [], ComputationOptions())[0].kind == "function"
    [message] = caplog.messages
    assert (
        "parts: the function with everything it refers to, most of it <lambda> -> closure['large'] (11.0 MB)" in message
    )
    caplog.clear()
    small = 5
    prepare(lambda: small, [], ComputationOptions())
    assert not caplog.text


def test_files_that_are_large_together_are_warned_of_by_name(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, size in (("a.bin", 6_000_000), ("b.bin", 5_000_000), ("c.bin", 10)):
        (here / name).write_bytes(bytes(size))
    prepared(len, ["a.bin", "c.bin"])
    assert caplog.messages == []
    prepared(len, ["a.bin", "b.bin", "c.bin"])
    assert caplog.messages == [
        "len sends 11.0 MB to each node; the largest parts: a.bin (6.0 MB), b.bin (5.0 MB). Remove what jobs do not "
        "need; large data that a function refers to can be passed as an argument or a file"
    ]


def test_log_says_in_detail_what_travels_and_why(module: Any, here: Path, caplog: pytest.LogCaptureFixture) -> None:
    module("own_inside", "x = 1")
    own = module("own_module", "def work():\n    import own_inside\n    return own_inside.x")
    (here / "a.txt").write_text("abc")
    (here / "b.txt").write_bytes(bytes(2500))
    with caplog.at_level("DEBUG", "gdispy.client.transfer_report"):
        prepare(own.work, ["a.txt"], ComputationOptions(data=("b.*",)))
    lines = caplog.messages
    assert lines[0].startswith("work sends ") and lines[0].endswith(" to each node")
    assert lines[1].startswith("work sends the function with everything it refers to: ")
    assert lines[1].endswith(" bytes, by value: own_module.work")
    assert lines[-3:] == [
        "work sends a.txt: 3 bytes, it is in depends",
        "work sends own_inside.py: 5 bytes, it is imported by the computation",
        "work sends b.txt: 2.5 kB, it is in data",
    ]


@pytest.mark.parametrize(
    ("name", "travels"), [("\udcff", "\\udcff"), ("f" * 1_100_000, "f" * 252 + "..."), ("caf\u00e9", "caf\u00e9")]
)
def test_odd_name_of_a_function_is_shortened_to_what_can_travel(name: str, travels: str) -> None:
    def work() -> int:
        return 1

    work.__name__ = name
    assert prepare(work, [], ComputationOptions())[0].name == travels


@pytest.mark.parametrize(("date", "travels"), [(-86_400, 0.0), (86_400, 86_400.0)])
def test_file_from_before_1970_is_sent_with_the_first_date_there_is(tmp_path: Path, date: int, travels: float) -> None:
    file = tmp_path / "old.txt"
    file.write_text("x")
    os.utime(file, (date, date))
    rows, _ = read_files({"old.txt": str(file)})
    assert rows[0][2] == travels


def test_more_files_than_a_message_holds_are_refused_before_any_is_read() -> None:
    with pytest.raises(ConfigError, match="65,537 files are too many"):
        read_files({str(number): "/nowhere" for number in range(65_537)})
