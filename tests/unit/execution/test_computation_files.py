"""Where the files of computations are, which of them are missing, and which are removed at the end."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from gdispy.buffers.memory_file import ReceivedFile
from gdispy.errors import ProtocolError
from gdispy.execution.computation_files import ComputationFiles
from gdispy.execution.state_directory import claim, find_prefix
from gdispy.protocol.messages import Prepare
from tests.unit.builders import Announced, C, D, prepare

NODE = b"n" * 16
CONTENTS = {"a.txt": b"one", "sub/b.txt": b"two"}


class Made:
    """The files of one node below a directory."""

    def __init__(self, path: Path) -> None:
        self.prefix = path / "prefix"
        self.arriving = path / "arriving"
        self.arriving.mkdir()
        self.lock = claim(find_prefix(str(self.prefix)), NODE.hex())
        (self.prefix / NODE.hex()).mkdir()
        self.files = ComputationFiles(str(self.prefix), NODE)

    def row(self, path: str, data: bytes) -> list[Any]:
        return [path, 0o600, 1e9, len(data), blake2b(data, digest_size=32).digest()]

    def arrived(self, data: bytes) -> ReceivedFile:
        path = self.arriving / f".gdispy-{len(os.listdir(self.arriving))}-{data.hex()}"
        path.write_bytes(data)
        return ReceivedFile(str(path), len(data), blake2b(data, digest_size=32).digest(), "")

    def prepare(self, computation: Any = C, directory: str = "", cleanup: bool = True) -> Prepare:
        rows = [self.row(path, data) for path, data in CONTENTS.items()]
        return replace(prepare(computation), files=rows, directory=directory, cleanup=cleanup)

    def put(self, about: Prepare, *indices: int) -> None:
        data = list(CONTENTS.values())
        self.files.put_in_place(about, {index: self.arrived(data[index]) for index in indices})

    def tree(self, path: str) -> dict[str, bytes]:
        return {str(each.relative_to(path)): each.read_bytes() for each in Path(path).rglob("*") if each.is_file()}


@pytest.fixture
def made(tmp_path: Path) -> Any:
    found = Made(tmp_path)
    yield found
    os.close(found.lock)


def test_files_are_in_the_private_directory_of_their_computation(made: Made) -> None:
    about = made.prepare()
    made.put(about, 0, 1)
    directory = made.files.directory(about)
    assert directory == str(made.prefix / NODE.hex() / C.hex())
    assert made.tree(directory) == CONTENTS and os.stat(directory).st_mode & 0o777 == 0o700
    assert made.files.jobs_directory(about) == f"{directory}.jobs"


def test_missing_files_are_those_that_do_not_have_the_announced_contents(made: Made) -> None:
    about = made.prepare()
    assert made.files.lacking(about) == [0, 1]
    made.put(about, 0, 1)
    assert made.files.lacking(about) == []
    Path(made.files.directory(about), "sub/b.txt").write_bytes(b"TWO")
    assert made.files.lacking(about) == [1]


def test_files_of_a_computation_are_stored_once(made: Made) -> None:
    about = made.prepare()
    made.put(about, 0, 1)
    Path(made.files.directory(about), "a.txt").write_bytes(b"job")
    made.put(about, 0)
    assert made.tree(made.files.directory(about))["a.txt"] == b"job"


def test_more_files_of_a_running_computation_are_added(made: Made) -> None:
    about = made.prepare()
    made.put(about, 0, 1)
    made.files.add(about, [made.row("c", b"three")], [made.arrived(b"three")])
    assert made.tree(made.files.directory(about))["c"] == b"three"


def test_file_that_leads_out_of_the_directory_is_refused(made: Made) -> None:
    with pytest.raises(ProtocolError):
        made.files.add(made.prepare(), [made.row("../c", b"three")], [made.arrived(b"three")])
    assert not (made.prefix / NODE.hex() / "c").exists()


@pytest.mark.parametrize("cleanup", [True, False])
def test_files_are_removed_at_the_end_unless_they_are_kept(made: Made, cleanup: bool) -> None:
    about = made.prepare(cleanup=cleanup)
    made.put(about, 0, 1)
    directory = made.files.directory(about)
    paths = made.files.leave(about)
    if cleanup:
        jobs, tree = paths
        # It has another name, since the same computation may arrive before it is removed.
        assert jobs == f"{directory}.jobs" and made.tree(tree) == CONTENTS and not os.path.exists(directory)
    else:
        assert paths == [] and made.tree(directory) == CONTENTS


def test_end_of_a_computation_whose_directory_is_gone_is_no_error(made: Made) -> None:
    about = made.prepare()
    assert made.files.leave(about) == [made.files.jobs_directory(about)]


def test_computation_that_arrives_again_gets_its_files_again(made: Made) -> None:
    about = made.prepare()
    made.put(about, 0, 1)
    made.files.leave(about)
    made.put(about, 0, 1)
    assert made.tree(made.files.directory(about)) == CONTENTS


def test_refused_computation_leaves_nothing_on_a_full_disk(made: Made) -> None:
    about = made.prepare()
    os.makedirs(made.files.directory(about))
    payload = Announced(5)
    made.files.discard(about, [payload])
    assert payload.released == 1 and not os.path.exists(made.files.directory(about))


def test_refusal_removes_no_files_of_a_computation_that_has_them(made: Made) -> None:
    for about in (made.prepare(), made.prepare(D, directory="shared")):
        made.files.enter(about, [])
        made.put(about, 0, 1)
        made.files.discard(about, [])
        assert made.tree(made.files.directory(about)) == CONTENTS


def test_named_directory_stays_for_the_next_computation(made: Made) -> None:
    about = made.prepare(directory="shared", cleanup=False)
    made.files.enter(about, [])
    made.put(about, 0, 1)
    directory = made.files.directory(about)
    assert directory == str(made.prefix / "kept" / "shared")
    made.files.leave(about)
    assert made.tree(directory) == CONTENTS
    again = made.prepare(D, directory="shared")
    made.files.enter(again, [])
    assert made.files.lacking(again) == []


def test_end_in_a_directory_that_another_computation_uses_removes_only_what_was_stored_for_it(made: Made) -> None:
    about = made.prepare(directory="shared")
    other = replace(made.prepare(D, directory="shared"), files=[made.row("c", b"three")])
    for each in (about, other):
        made.files.enter(each, [])
    made.put(about, 0, 1)
    made.files.put_in_place(other, {0: made.arrived(b"three")})
    made.files.leave(about)
    assert made.tree(made.files.directory(other)) == {"c": b"three"}


def test_files_of_other_computations_in_a_named_directory_must_be_the_same(made: Made) -> None:
    about = made.prepare(directory="shared")
    made.files.enter(about, [])
    other = replace(made.prepare(D, directory="shared"), files=[made.row("a.txt", b"different")])
    with pytest.raises(ProtocolError, match=r"the file 'a\.txt' cannot be stored in the directory of dest_path"):
        made.files.enter(other, [])


def test_files_of_running_jobs_are_checked_for_a_named_directory_only(made: Made) -> None:
    checked: list[str] = []

    class Jobs:
        def check(self, directory: str, rows: Any) -> None:
            checked.append(directory)

    jobs: Any = Jobs()
    made.files.enter(made.prepare(), [jobs])
    assert checked == []
    made.files.enter(made.prepare(D, directory="shared"), [jobs])
    assert checked == [str(made.prefix / "kept" / "shared")]


def test_job_may_replace_files_only_where_no_computation_uses_them(made: Made) -> None:
    private, shared = made.prepare(), made.prepare(D, directory="shared")
    made.files.enter(shared, [])
    made.put(shared, 0, 1)
    directory = made.files.directory(shared)
    assert not made.files.check_of_jobs(private)("anything")
    is_used = made.files.check_of_jobs(shared)
    assert is_used(os.path.join(directory, "a.txt")) and not is_used(os.path.join(directory, "other"))


def test_named_directory_that_leads_elsewhere_is_refused(made: Made) -> None:
    with pytest.raises(ProtocolError):
        made.files.directory(made.prepare(directory="../elsewhere"))
