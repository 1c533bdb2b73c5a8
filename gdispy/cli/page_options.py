"""The options of the web page of a daemon: `--http` and `--http_admin`.

Runs in a process that gevent has patched.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from gdispy.cli.options import ResolvedOptions
from gdispy.errors import ConfigError

if TYPE_CHECKING:
    from gdispy.transport.tls import Tls
    from gdispy.web.server import View


#: The port of dispy's web monitor.
DISPY_PORT = 8181


class PageOptions(NamedTuple):
    """Where the page is served, and whether its actions are allowed."""

    host: str
    port: int
    admin: bool

    def serve(self, view: View, tls: Tls | None, directory: str) -> None:
        """Serve a page with the token in this directory, or a new one without a directory, and print its URL. Where
        that would go to a log, the file with the token is named instead. Raises ConfigError."""
        from gdispy.web.server import PageServer  # A web server, which few daemons need.
        from gdispy.web.token_file import TOKEN_FILE, token_of

        server = PageServer(view, self.host, self.port, tls, token_of(directory))
        server.start()
        is_seen = not directory or (sys.stderr is not None and sys.stderr.isatty())
        shown = server.url if is_seen else f"{server.address} (its token is in {os.path.join(directory, TOKEN_FILE)})"
        print(f"The page of this daemon: {shown}", file=sys.stderr, flush=True)


def add_page_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("web page")
    text = "serve a web page there (default of HOST: this machine only); other addresses require a certificate"
    group.add_argument("--http", default="", metavar="[HOST:]PORT", help=text)
    text = f"the same as --http {DISPY_PORT}, as in dispy"
    group.add_argument("--httpd", action="store_true", help=text)
    text = "let the page cancel jobs, and change and drain nodes; without it the page only shows"
    group.add_argument("--http_admin", "--http-admin", action="store_true", help=text)


def page_options(options: ResolvedOptions) -> PageOptions | None:
    """The options, checked; None if no page is wanted. Raises ConfigError."""
    place = options.read("http", _place, None) or (("127.0.0.1", DISPY_PORT) if options.httpd else None)
    if place is None:
        if options.http_admin:
            raise ConfigError("--http_admin needs --http [HOST:]PORT")
        return None
    return PageOptions(*place, bool(options.http_admin))


def _place(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    # Address.parse does not take port 0, any free one.
    if not port.isascii() or not port.isdecimal() or int(port) > 65535 or (colon and not host):
        raise ConfigError(f"write PORT or HOST:PORT, such as 8181, not {text!r}")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)
