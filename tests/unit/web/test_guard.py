"""Who may see the page, and who may act."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from gdispy.web.guard import ADDRESSES, FAILURES, OF_PROGRAM, WINDOW, Guard, Refused

TOKEN = "token-of-the-page"
HERE = "127.0.0.1"


def guard(is_secure: bool = False) -> Guard:
    return Guard(TOKEN, "gdispy-8181", is_secure, frozenset({"Lab.example"}))


def refused(call: Callable[[], object]) -> int:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.reason
    return caught.value.code


def cookie_header(made: Guard, session: object) -> str:
    return made.cookie_of(session).partition(";")[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8181", "localhost:9000", "[::1]:8181", "10.0.0.5", "lab.example:8181", "LAB.EXAMPLE", "localhost."],
)
def test_own_names_and_addresses_are_answered_at_any_port(host: str) -> None:
    guard().check_source({"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8181",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "user@localhost",
        "localhost/evil.example",
        "localhost:x",
        "[::1",
        "127.0.0.1:8181#",
        "lab.example.evil.org",
        "evil\\localhost",
    ],
)
def test_a_name_that_another_site_has_pointed_here_is_refused(host: str) -> None:
    assert refused(lambda: guard().check_source({"host": host})) == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://localhost:8181",
        "http://localhost:9999",
        "null",
        "",
        "http://localhost:8181.evil.org",
    ],
)
def test_an_origin_other_than_the_page_is_refused(origin: str) -> None:
    assert refused(lambda: guard().check_source({"host": "localhost:8181", "origin": origin})) == 403


def test_own_origin_is_answered_with_the_scheme_of_the_page_only() -> None:
    guard().check_source({"host": "localhost:8181", "origin": "http://localhost:8181", "sec-fetch-site": "same-origin"})
    guard(is_secure=True).check_source({"host": "localhost:8181", "origin": "https://localhost:8181"})
    headers = {"host": "localhost:8181", "origin": "http://localhost:8181"}
    assert refused(lambda: guard(is_secure=True).check_source(headers)) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "other"])
def test_what_browsers_send_for_other_sites_is_refused(site: str) -> None:
    assert refused(lambda: guard().check_source({"host": "localhost", "sec-fetch-site": site})) == 403


def test_token_is_exchanged_for_a_cookie_that_scripts_and_other_sites_do_not_get() -> None:
    made = guard()
    session = made.log_in(TOKEN, HERE, 0.0)
    assert made.session({"cookie": f"other=1; {cookie_header(made, session)}"}, session.page_key, HERE, 1.0) == session
    assert TOKEN not in made.cookie_of(session)
    words = made.cookie_of(session).split("; ")[1:]
    assert words == ["HttpOnly", "SameSite=Strict", "Path=/"]
    secure = guard(is_secure=True)
    assert secure.cookie_of(secure.log_in(TOKEN, HERE, 0.0)).split("; ")[-1] == "Secure"


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\ud800", "ü" * 5000])
def test_wrong_token_is_refused(token: str) -> None:
    assert refused(lambda: guard().log_in(token, HERE, 0.0)) == 403


@pytest.mark.parametrize(
    "cookie", ["", "gdispy-8181=", "gdispy-8181=wrong", "gdispy-8181", "=;;=", f"gdispy-8181={TOKEN}"]
)
def test_without_a_session_nothing_is_shown(cookie: str) -> None:
    made = guard()
    known = made.log_in(TOKEN, HERE, 0.0)
    assert refused(lambda: made.session({"cookie": cookie}, known.page_key, HERE, 0.0)) == 401


def test_programs_send_the_token_as_bearer_or_as_the_password_of_a_url() -> None:
    made = guard()
    basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    for sent in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", f"Basic {basic}"):
        assert made.session({"authorization": sent}, "", HERE, 0.0) is OF_PROGRAM
    for wrong in ("Bearer", "Bearer x", f"Digest {TOKEN}", "Basic !!!", "Basic " + base64.b64encode(b"\xff:").decode()):
        assert refused(lambda sent=wrong: made.session({"authorization": sent}, "", HERE, 0.0)) == 403  # type: ignore[misc]


def test_action_needs_the_key_of_its_own_session() -> None:
    made = guard()
    one, other = made.log_in(TOKEN, HERE, 0.0), made.log_in(TOKEN, HERE, 0.0)
    made.check_action(one, {"x-gdispy-page": one.page_key})
    for given in ({}, {"x-gdispy-page": ""}, {"x-gdispy-page": other.page_key}, {"x-gdispy-page": one.key}):
        assert refused(lambda headers=given: made.check_action(one, headers)) == 403  # type: ignore[misc]
    made.check_action(OF_PROGRAM, {})


def test_address_with_many_failures_waits_and_others_do_not() -> None:
    made = guard()
    for _ in range(FAILURES):
        assert refused(lambda: made.log_in("wrong", "10.0.0.4", 0.0)) == 403
    assert refused(lambda: made.log_in(TOKEN, "10.0.0.4", 1.0)) == 429
    assert refused(lambda: made.session({"authorization": f"Bearer {TOKEN}"}, "", "10.0.0.4", WINDOW - 1)) == 429
    assert made.log_in(TOKEN, "10.0.0.5", 1.0)
    assert made.log_in(TOKEN, "10.0.0.4", WINDOW)


def test_on_this_machine_the_owner_cannot_be_locked_out() -> None:
    made = guard()
    for _ in range(FAILURES):
        refused(lambda: made.log_in("wrong", "127.0.0.1", 0.0))
    assert refused(lambda: made.log_in("wrong", "127.0.0.1", 1.0)) == 429
    assert made.log_in(TOKEN, "127.0.0.1", 1.0)


def test_cookie_without_the_key_of_the_page_shows_nothing() -> None:
    made = guard()
    session, other = made.log_in(TOKEN, HERE, 0.0), made.log_in(TOKEN, HERE, 0.0)
    headers = {"cookie": cookie_header(made, session)}
    for key in ("", "x", other.page_key, session.key):
        assert refused(lambda sent=key: made.session(headers, sent, HERE, 0.0)) == 401  # type: ignore[misc]
        assert refused(lambda sent=key: made.session({**headers, "x-gdispy-page": sent}, "", HERE, 0.0)) == 401  # type: ignore[misc]
    assert made.session({**headers, "x-gdispy-page": session.page_key}, "", HERE, 0.0) == session


def test_session_goes_on_while_its_address_waits() -> None:
    made = guard()
    session = made.log_in(TOKEN, HERE, 0.0)
    for _ in range(FAILURES + 1):
        refused(lambda: made.log_in("wrong", HERE, 0.0))
    assert made.session({"cookie": cookie_header(made, session)}, session.page_key, HERE, 1.0) == session


def test_what_is_remembered_of_strangers_is_bounded() -> None:
    made = guard()
    for number in range(ADDRESSES + 50):
        refused(lambda address=f"10.{number}": made.log_in("wrong", address, 0.0))  # type: ignore[misc]
    assert len(made._failures) == ADDRESSES


def test_session_is_valid_for_a_server_with_the_same_token_and_no_other() -> None:
    session = guard().log_in(TOKEN, HERE, 0.0)
    headers = {"cookie": cookie_header(guard(), session)}
    assert guard().session(headers, session.page_key, HERE, 0.0) == session
    other = Guard("another token", "gdispy-8181", False)
    assert refused(lambda: other.session(headers, session.page_key, HERE, 0.0)) == 401
    name, _, proof = session.key.partition(".")
    for forged in (f"x{name}.{proof}", f"{name}.", f"{name}", f"{name}.{proof[:-1]}", f"{name}.{session.page_key}"):
        assert (
            refused(lambda key=forged: guard().session({"cookie": f"gdispy-8181={key}"}, session.page_key, HERE, 0.0))
            == 401
        )  # type: ignore[misc]


READERS = "token-of-the-metrics"


def reads(own: str, address: str, **headers: str) -> bool:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return guard().check_reader({"host": "127.0.0.1", **given}, own, address, 0.0)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.0.0.9"])
def test_metrics_are_for_programs_on_this_machine(address: str) -> None:
    assert not reads("", address)
    assert refused(lambda: reads("", "10.0.0.9")) == 401


@pytest.mark.parametrize(
    "name",
    [
        "forwarded",
        "via",
        "x_real_ip",
        "x_forwarded_for",
        "x_forwarded_host",
        "x_forwarded_proto",
        "x_forwarded",
        "x_client_ip",
        "x_cluster_client_ip",
        "cf_connecting_ip",
        "true_client_ip",
        "fly_client_ip",
    ],
)
def test_what_a_proxy_passes_on_does_not_come_from_this_machine(name: str) -> None:
    assert refused(lambda: reads("", "127.0.0.1", **{name: "x"})) == 401


def test_metrics_with_a_token_are_for_those_that_have_it() -> None:
    for address in ("127.0.0.1", "10.0.0.9"):
        assert reads(READERS, address, authorization=f"Bearer {READERS}", host="prometheus.sees.this.name")
        assert reads(READERS, address, authorization=f"Bearer {TOKEN}")
        assert refused(lambda address=address: reads(READERS, address)) == 401  # type: ignore[misc]
        for wrong in ("Bearer x", "Bearer ", "x", "Basic !", f"Bearer {READERS}x"):
            call = lambda address=address, wrong=wrong: reads(READERS, address, authorization=wrong)  # noqa: E731
            assert refused(call) == 403
    assert refused(lambda: reads("", "127.0.0.1", authorization="Bearer ")) == 403


@pytest.mark.parametrize("own", ["", READERS])
def test_reader_with_a_wrong_token_is_told_which_one_to_send(own: str) -> None:
    with pytest.raises(Refused, match="send the token of --metrics_token_file") as caught:
        reads(own, "127.0.0.1", authorization="Bearer x")
    assert "URL" not in caught.value.reason


def test_on_this_machine_the_right_token_is_asked_for_after_too_many_wrong_ones() -> None:
    made = guard()
    for address, wanted in (
        ("127.0.0.1", "tokens: send the right one, or wait 60 s"),
        ("10.0.0.9", "tokens: wait 60 s"),
    ):
        for _ in range(FAILURES):
            refused(lambda address=address: made.log_in("x", address, 1.0))  # type: ignore[misc]
        with pytest.raises(Refused, match=wanted):
            made.log_in("x", address, 1.0)


def test_other_sites_cannot_read_metrics() -> None:
    assert refused(lambda: reads("", "127.0.0.1", host="evil.example")) == 421
    assert refused(lambda: reads("", "127.0.0.1", origin="http://evil.example")) == 403
    assert refused(lambda: reads("", "127.0.0.1", sec_fetch_site="cross-site")) == 403


def test_guesses_of_the_token_of_metrics_are_limited() -> None:
    made = guard()

    def guess(token: str) -> None:
        made.check_reader({"authorization": f"Bearer {token}"}, READERS, "10.0.0.9", 1.0)

    assert [refused(lambda: guess("x")) for _ in range(FAILURES + 1)] == [403] * FAILURES + [429]
    guess(READERS)
