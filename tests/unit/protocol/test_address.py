"""Addresses and the patterns they must fit."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.protocol.address import PATTERN_LIMIT, Address, NodePatterns, host_flaw, matches, pattern_flaw


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("host", "host", None),
        ("host:1", "host", 1),
        ("10.0.0.1:65535", "10.0.0.1", 65535),
        ("::1", "::1", None),
        ("fe80::1:2", "fe80::1:2", None),
        ("[::1]", "::1", None),
        ("[::1]:51348", "::1", 51348),
        ("*", "*", None),
        ("10.*:7", "10.*", 7),
    ],
)
def test_split_reads_host_and_port(text: str, host: str, port: int | None) -> None:
    assert Address.parse(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["host:0", "host:65536", "host:-1", "host:", "host:x", "[::1]:", "[::1]:0", "host:1.5"]
)
def test_split_refuses_what_is_no_port(text: str) -> None:
    with pytest.raises(ValueError):
        Address.parse(text)


@given(
    host=st.from_regex(r"[a-z0-9.*]{1,20}|[0-9a-f]{0,4}:[0-9a-f]{0,4}:[0-9a-f]{1,4}", fullmatch=True),
    port=st.integers(1, 65535),
)
def test_split_reads_what_join_writes(host: str, port: int) -> None:
    assert Address.parse(str(Address(host, port))) == (host, port)
    assert Address.parse(str(Address(host, None))) == (host, None)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*", True),
        ("10.0.0.1", True),
        ("10.0.0.15", False),
        ("10.0.0", False),
        ("0.0.0.1", False),
        ("10.0.0.*", True),
        ("10.*.1", True),
        ("10.0.0.1:51348", True),
        ("10.0.0.1:51349", False),
        ("*:51348", True),
        ("*:1", False),
        ("worker", True),
        ("WORKER", True),
        ("work*", True),
        ("w.rker", False),
        ("10.0.0.1*", True),
        ("10?0.0.1", False),
    ],
)
def test_pattern_must_fit_the_whole_of_an_address(pattern: str, fits: bool) -> None:
    assert matches([pattern], ["10.0.0.1", "worker"], 51348) is fits


def test_pattern_without_a_star_does_not_take_dots_for_anything() -> None:
    assert not matches(["10.0.0.1"], ["10a0b0c1"], 51348)


def test_one_pattern_of_several_is_enough_and_none_of_none() -> None:
    assert matches(["a", "b"], ["b"], 1)
    assert not matches([], ["b"], 1)
    assert not matches(["b"], [], 1)


def test_names_may_be_an_iterator_that_can_be_read_once() -> None:
    assert matches(["a", "b"], iter(["b"]), 1)


def test_a_node_that_has_come_by_itself_fits_by_its_address_or_name_whatever_the_port() -> None:
    assert matches(["10.0.0.1:51348"], ["10.0.0.1"], 0)
    assert matches(["worker"], ["192.0.2.1", "worker"], 0)
    assert not matches(["10.0.0.2"], ["10.0.0.1"], 0)
    assert str(Address("10.0.0.1", 0)) == "10.0.0.1"


@pytest.mark.parametrize(
    ("host", "flaw"),
    [
        ("lab..example", "must not contain an empty part"),
        (".example", "must not contain an empty part"),
        ("a" * 64 + ".example", "at most 63 characters, not 64"),
        (".".join(["a" * 60] * 5), "at most 255 characters"),
        ("my node", "must not contain ' '"),
        ("http://lab3", "not an IPv6 address"),
        ("lab3/x", "must not contain '/'"),
        ("lab\0", r"must not contain '\\x00'"),
        ("bücher.example", "ASCII"),
        ("caf\udce9", "ASCII"),
        ("", "does not name a host"),
        ("::1::2", "not an IPv6 address"),
        ("fe80::1%a b", "not an IPv6 address"),
        ("999.1.1.1", "not an IPv4 address"),
        ("10.0.0.256", "not an IPv4 address"),
    ],
)
def test_what_can_be_no_host_is_said_to_be_none(host: str, flaw: str) -> None:
    assert re.search(flaw, host_flaw(host))


@pytest.mark.parametrize(
    "host",
    [
        *(
            "lab3",
            "lab3.example",
            "lab3.example.",
            "127.0.0.1",
            "127.1",
            "999.1.1",
            "300.example",
            "my_node-1",
            "xn--bcher-kva.example",
            "a" * 63,
        ),
        *("::1", "fe80::1%eth0", "10.0.*", "*", "lab*.example", "fe80:*"),
    ],
)
def test_what_can_be_a_host_is_not_refused(host: str) -> None:
    assert host_flaw(host) == ""


@given(pattern=st.text("ab*", max_size=12), name=st.text("ab", max_size=12))
def test_a_star_stands_for_anything_as_in_a_shell(pattern: str, name: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None
    assert NodePatterns([pattern] if pattern else []).match([name], 1) is (expected and bool(pattern))


def test_forty_stars_take_no_longer_than_one() -> None:
    pattern = "a*" * 40 + "b"
    began = time.process_time()
    assert not matches([pattern], ["a" * 255], 1)
    assert time.process_time() - began < 0.1


def test_many_names_are_looked_up_and_not_gone_through() -> None:
    patterns = NodePatterns(f"host{number}:51348" for number in range(20_000))
    began = time.process_time()
    for number in range(20_000):
        assert patterns.match([f"host{number}"], 51348)
    assert time.process_time() - began < 2
    assert not patterns.match(["host1"], 51349)


@pytest.mark.parametrize(
    ("pattern", "flaw"),
    [
        ("*:x", "'x' is not a port"),
        (":", "'' is not a port"),
        ("127.0.0.1:99999", "99999 is not a port"),
        ("", "it does not name a host"),
        ("a" * 300, f"at most {PATTERN_LIMIT} characters"),
        (":80", "it does not name a host"),
    ],
)
def test_what_is_no_pattern_is_said_to_be_none(pattern: str, flaw: str) -> None:
    assert flaw in pattern_flaw(pattern)


@pytest.mark.parametrize("pattern", ["*", "lab*:51348", "::1", "[fe80::*]:1", "my_node", "*" * 40])
def test_what_is_a_pattern_has_no_flaw(pattern: str) -> None:
    assert pattern_flaw(pattern) == ""
