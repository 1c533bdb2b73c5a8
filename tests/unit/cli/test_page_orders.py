"""The parts of requests that several pages take."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.cli.page_orders import clients_in, hours_in
from gdispy.web.guard import Refused


@pytest.mark.parametrize("hours", ["", "18:00 07:00", "18:00 07:00 08:00"])
def test_hours(hours: str) -> None:
    assert hours_in({"hours": hours}) == hours


@pytest.mark.parametrize("hours", [None, 5, "18:00", "<b>", "25:00 07:00", ["18:00", "07:00"]])
def test_what_is_no_hours_is_refused(hours: Any) -> None:
    with pytest.raises(Refused) as caught:
        hours_in({"hours": hours})
    assert caught.value.code == 400


@pytest.mark.parametrize("clients", [None, "2", -1, 1.5, True, 1 << 20])
def test_what_is_no_number_of_clients_is_refused(clients: Any) -> None:
    with pytest.raises(Refused, match="whole number"):
        clients_in({"clients": clients})


def test_numbers_of_clients() -> None:
    assert [clients_in({"clients": number}) for number in (0, 7)] == [0, 7]
