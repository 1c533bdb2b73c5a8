"""The shared scheduler: the weights of clients, by their users, hosts or addresses."""

from __future__ import annotations

import pytest

from gdispy.shared_scheduler.service import weight_of

NAME = "lab3 (ann: fit.py)"


@pytest.mark.parametrize(
    ("weights", "weight"),
    [
        ({}, None),
        ({"bob": 2.0, "fit.py": 3.0, NAME: 4.0, "": 5.0}, None),
        ({"ann": 2.0, "lab3": 3.0, "10.0.0.1": 4.0}, 2.0),
        ({"lab3": 3.0, "10.0.0.1": 4.0}, 3.0),
        ({"10.0.0.1": 4.0}, 4.0),
    ],
)
def test_user_counts_before_host_and_host_before_address(weights: dict[str, float], weight: float | None) -> None:
    assert weight_of(NAME, "10.0.0.1", weights) == weight


def test_client_of_an_older_version_is_known_by_its_host() -> None:
    assert weight_of("lab3", "10.0.0.1", {"lab3": 3.0}) == 3.0
