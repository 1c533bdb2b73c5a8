"""Who may see the page, and who may act.

Pure: the caller gives the time. Used in the loop of the server only.

A browser exchanges the token, which is in the fragment of its URL, for a session: a cookie, and a page key that each
request repeats. The cookie alone is worth nothing: browsers send it to every port of this host, so also to servers of
other users, whereas the page key is kept by origin. Programs send the token in each request instead.

Invariants:
1. The token and the keys of sessions are compared in constant time.
2. An address that has failed `FAILURES` times within `WINDOW` is refused until the window is over. On this machine,
   where all users share an address, only wrong tokens are: the owner cannot be locked out by others.
3. What is remembered of strangers is bounded.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

#: Failed attempts of one address within `WINDOW` seconds, after which it must wait.
FAILURES = 10
WINDOW = 60.0
#: Addresses with failures that are remembered; the oldest is forgotten first.
ADDRESSES = 1024
#: Bytes of the random values.
KEY_BYTES = 32
#: Headers that proxies add to the requests of others, and what the names of further ones begin with.
PROXY_HEADERS = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "cf-connecting-ip",
        "true-client-ip",
        "fly-client-ip",
    }
)
PROXY_PREFIX = "x-forwarded"

_WRONG_TOKEN = "the token is wrong: use the URL that was printed when the page was started"


class Refused(Exception):
    """A request that is not answered. `code` is the status of HTTP."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True)
class Session:
    """One browser, or one request of a program that has the token."""

    key: str
    #: What each request repeats in the header `X-Gdispy-Page` or, if it only reads, as `key` in the query; '' if the
    #: request itself carries the token.
    page_key: str


#: A request that carries the token itself. No other site can make a browser send that.
OF_PROGRAM = Session("", "")


class Guard:
    """The token of a page, its sessions, and the attempts that have failed."""

    def __init__(self, token: str, cookie: str, is_secure: bool, names: frozenset[str] = frozenset()) -> None:
        """`cookie` is the name of the cookie; `is_secure` tells whether the page is served over TLS; `names` are the
        names of this host, besides addresses and localhost."""
        self._token, self._cookie, self._is_secure = token, cookie, is_secure
        self._names = frozenset(name.lower() for name in names) | {"localhost"}
        #: Address -> the number of failures, and when the window ends.
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def check_source(self, headers: Mapping[str, str]) -> None:
        """Refuse a request that another site has made: by a name that it has pointed to this address, or from a page of
        its own. `headers` have names in lower case."""
        host = headers.get("host", "")
        if not self._is_own(host):
            raise Refused(421, "the page is not served under this host name: use the URL that was printed")
        origin = headers.get("origin")
        scheme = "https" if self._is_secure else "http"
        if origin is not None and origin.lower() != f"{scheme}://{host}".lower():
            raise Refused(403, "the request comes from another site")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refused(403, "the request comes from another site")

    def _is_own(self, host: str) -> bool:
        # The port is not compared: it differs behind `ssh -L`, and a name is what an attacker can choose.
        try:
            parts = urlsplit(f"//{host}")
            name, _ = (parts.hostname or "").lower().rstrip("."), parts.port
        except ValueError:
            return False
        if not name or parts.netloc != host or "@" in host:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return False
        return True

    def log_in(self, token: str, address: str, now: float) -> Session:
        """A new session for a browser that has the token. Raises Refused."""
        self._check_token(token, address, now)
        return self._session_of(secrets.token_urlsafe(KEY_BYTES))

    def _session_of(self, name: str) -> Session:
        """The session with this random name. Its keys follow from the name and the token, so it is valid again if a
        server returns with the same token, and nothing is stored."""
        return Session(f"{name}.{self._derived('session', name)}", self._derived("page", name))

    def _derived(self, purpose: str, name: str) -> str:
        return hmac.digest(self._token.encode(), f"{purpose} {name}".encode("utf-8", "replace"), "sha256").hex()

    def cookie_of(self, session: Session) -> str:
        """The value of the header Set-Cookie."""
        secure = "; Secure" if self._is_secure else ""
        return f"{self._cookie}={session.key}; HttpOnly; SameSite=Strict; Path=/{secure}"

    def session(self, headers: Mapping[str, str], key: str, address: str, now: float) -> Session:
        """The session of a request; `key` is that of its query. Raises Refused if there is none."""
        sent = headers.get("authorization")
        if sent is not None:
            self._check_token(_token_of(sent), address, now)
            return OF_PROGRAM
        given = _cookie(headers.get("cookie", ""), self._cookie)
        known = self._session_of(given.partition(".")[0])
        has_key = _equal(headers.get("x-gdispy-page", "") or key, known.page_key)
        if not _equal(given, known.key) or not has_key:
            raise Refused(401, "log in first: open the URL with the token that was printed")
        return known

    def check_action(self, session: Session, headers: Mapping[str, str]) -> None:
        """Refuse an action that a form or script of another site could have sent with the cookie. Raises Refused."""
        if session is OF_PROGRAM:
            return
        if not _equal(headers.get("x-gdispy-page", ""), session.page_key):
            raise Refused(403, "the header X-Gdispy-Page is missing or wrong: reload the page")

    def check_reader(self, headers: Mapping[str, str], own: str, address: str, now: float) -> bool:
        """Refuse a request for metrics. `own` is their token; without one, they are for programs on this machine that
        ask directly. The token of the page is accepted, too. Returns whether a token was sent. Raises Refused."""
        how = "the token of --metrics_token_file, or that of the page,"
        sent = headers.get("authorization")
        if sent is not None:
            if not _equal(_token_of(sent), own):
                self._check_token(_token_of(sent), address, now, f"the token is wrong: send {how} as a bearer token")
            return True
        self.check_source(headers)
        # A reverse proxy on this machine passes on requests of others.
        if own or _is_passed_on(headers) or not _is_loopback(address):
            raise Refused(401, f"send {how} in the header Authorization: Bearer TOKEN")
        return False

    def _check_token(self, token: str, address: str, now: float, wrong: str = _WRONG_TOKEN) -> None:
        """`wrong` is the reason for refusing a wrong token."""
        count, ends = self._failures.pop(address, (0, 0.0))
        if now >= ends:
            count, ends = 0, now + WINDOW
        is_full, is_here = count >= FAILURES, _is_loopback(address)
        if (not is_full or is_here) and _equal(token, self._token):
            return
        self._failures[address] = min(count + 1, FAILURES), ends
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)
        if is_full:
            how = "send the right one, or wait" if is_here else "wait"
            raise Refused(429, f"too many wrong tokens: {how} {ends - now:.0f} s")
        raise Refused(403, wrong)


def _is_passed_on(headers: Mapping[str, str]) -> bool:
    """Whether a proxy has added a header. One that adds none cannot be recognized."""
    return any(name in PROXY_HEADERS or name.startswith(PROXY_PREFIX) for name in headers)


def _equal(given: str, wanted: str) -> bool:
    return bool(wanted) and hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _token_of(authorization: str) -> str:
    """The token of `Bearer TOKEN`, or the password of `Basic`, as `http://:TOKEN@host` makes programs send it."""
    kind, _, value = authorization.strip().partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
