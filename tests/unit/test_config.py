"""Values that users write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.config import default_ip_addr, is_loopback, parse_size, port_number
from gdispy.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500", 500),
        ("10k", 10 * 1024),
        ("10K", 10 * 1024),
        ("2.5m", 2621440),
        ("1g", 1024**3),
        ("1t", 1024**4),
        ("1kb", 1024),
        ("1KiB", 1024),
        ("5b", 5),
        (" 7 ", 7),
        ("1.5", 1),
    ],
)
def test_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", " ", "k", "b", "-1", "-1k", "1x", "1kk", "nan", "inf", "1e30", "ten", "1 2", "0x10"]
)
def test_what_is_no_size_is_refused_in_words(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a size: write a number of bytes, or 10k, 2m, 1g"):
        parse_size(text)


@given(st.integers(0, 2**33), st.sampled_from(["", "k", "m"]))
def test_size_of_any_whole_number_is_exact(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * {"": 1, "k": 1024, "m": 1024**2}[unit]


@pytest.mark.parametrize("value", [0, 1, 65535])
def test_port_is_taken(value: int) -> None:
    assert port_number(value) == value


@pytest.mark.parametrize("value", [-1, 65536, "eighty", "-1", "", 80.0, None, True])
def test_what_is_no_port_is_refused_by_name(value: object) -> None:
    with pytest.raises(ConfigError, match=f"node_port must be a whole number from 0 to 65535, not {value!r}"):
        port_number(value, "node_port")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_addresses_are_known(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["", "0.0.0.0", "::", "10.0.0.1", "1270.0.0.1", "host", "127.example.com"])
def test_other_addresses_are_not_loopback(address: str) -> None:
    assert not is_loopback(address)


def test_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDISPY_IP_ADDR", " 10.0.0.1 ")
    assert default_ip_addr() == "10.0.0.1"
    monkeypatch.delenv("GDISPY_IP_ADDR")
    assert default_ip_addr() == ""
