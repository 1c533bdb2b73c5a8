"""What was pickled, or is imported, by the paths that modules had before."""

from __future__ import annotations

import importlib
import pickle

import pytest

import gdispy


#: Made by version 0.1: the module, and the class, that are in the pickle.
@pytest.mark.parametrize("module, name", [("status", "DispyNodeAvailInfo"), ("allocation", "NodeAllocate")])
def test_classes_that_were_pickled_by_their_former_paths_are_found(module: str, name: str) -> None:
    data = f"cgdispy.{module}\n{name}\n.".encode()
    assert pickle.loads(data) is getattr(gdispy, name)


def test_results_of_map_are_found_by_their_former_path() -> None:
    from gdispy.client.map_results import MapResults

    assert importlib.import_module("gdispy.flow").Results is MapResults
