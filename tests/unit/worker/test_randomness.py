"""Generators of random numbers in workers that are copies of one template."""

from __future__ import annotations

import copy
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.worker.randomness import Generators, _is_unseeded

numpy = pytest.importorskip("numpy")


def numbers(generator: Any) -> list[int]:
    return list(copy.deepcopy(generator).integers(0, 1 << 60, 4))


def test_generator_without_a_seed_is_different_in_each_worker_and_a_seeded_one_is_not() -> None:
    free, seeded = numpy.random.default_rng(), numpy.random.default_rng(7)
    before = numbers(free), numbers(seeded)
    found = Generators()
    found.find()
    found.reseed()
    first = numbers(free)
    found.reseed()
    assert len({tuple(each) for each in (before[0], first, numbers(free))}) == 3
    assert numbers(seeded) == before[1]


def test_common_generator_of_numpy_is_reseeded() -> None:
    numpy.random.seed(7)
    before = numpy.random.randint(1 << 30, size=4).tolist()
    numpy.random.seed(7)
    Generators().reseed()
    assert numpy.random.randint(1 << 30, size=4).tolist() != before


@pytest.mark.parametrize(
    ("entropy", "expected"), [(1 << 64, True), ((1 << 64) - 1, False), (0, False), (None, False), ([1 << 99], False)]
)
def test_seed_that_fits_into_64_bits_was_given(entropy: Any, expected: bool) -> None:
    generator = SimpleNamespace(bit_generator=SimpleNamespace(seed_seq=SimpleNamespace(entropy=entropy)))
    assert _is_unseeded(generator) is expected


def test_generator_of_torch_is_reseeded_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    torch = SimpleNamespace(default_generator=SimpleNamespace(manual_seed=seeds.append))
    monkeypatch.setitem(sys.modules, "torch", torch)
    for _ in range(2):
        Generators().reseed()
    assert len(set(seeds)) == 2 and all(0 <= seed < 1 << 63 for seed in seeds)


@pytest.mark.parametrize("module", [None, SimpleNamespace(), SimpleNamespace(Generator=5)])
def test_other_module_of_that_name_does_no_harm(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy.random", module)
    found = Generators()
    found.find()
    found.reseed()
    assert found._found == []
