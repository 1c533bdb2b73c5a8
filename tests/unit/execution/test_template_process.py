"""Which directories of jobs stay with the files of their computation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gdispy.execution.template_process import TemplateProcess
from tests.unit.builders import C, prepare


@pytest.mark.parametrize(
    ("cleanup", "directory", "keeps"),
    [(True, "", False), (False, "", True), (True, "shared", False), (False, "shared", False)],
)
def test_directories_of_jobs_stay_if_files_stay_in_the_nodes_directory(
    cleanup: bool, directory: str, keeps: bool
) -> None:
    about = replace(prepare(C), cleanup=cleanup, directory=directory)
    assert TemplateProcess(about, "/files", "/jobs").keeps_jobs is keeps


def test_new_template_is_not_loaded_and_its_end_not_expected() -> None:
    template = TemplateProcess(prepare(C), "/files", "/jobs")
    assert template.id == C and template.workers == {}
    assert not template.is_loaded and not template.cares and not template.ending
