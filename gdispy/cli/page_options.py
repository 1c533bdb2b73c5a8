"""The options of the web page of a daemon: `--http` and `--http_admin`.

Runs in a process that gevent has patched.
"""

from __future__ import annotations

import argparse
import logging
import os
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from gdispy.cli.options import ResolvedOptions, is_given, within
from gdispy.errors import ConfigError
from gdispy.web.job_metrics import MOST_COMPUTATIONS

if TYPE_CHECKING:
    from gdispy.transport.tls import Tls
    from gdispy.web.metrics import Source
    from gdispy.web.server import PageServer, View

logger = logging.getLogger("gdispy")

#: The port of dispy's web monitor.
DISPY_PORT = 8181
#: Characters that a token has at least.
SHORTEST_TOKEN = 16


class PageOptions(NamedTuple):
    """Where the page is served, whether its actions are allowed, and how its metrics are read."""

    host: str
    port: int
    admin: bool
    #: The token of the metrics, '' for none; and how many computations they name.
    metrics_token: str = ""
    metrics_computations: int = MOST_COMPUTATIONS

    def serve(
        self, view: View, source: Source | None, tls: Tls | None, directory: str, whose: str = "this daemon"
    ) -> PageServer:
        """Serve a page with the token in this directory, or a new one without a directory, and print its URL. Where
        that would go to a log, the file with the token is named instead. Raises ConfigError."""
        from gdispy.web.server import PageServer  # A web server, which few daemons need.
        from gdispy.web.token_file import TOKEN_FILE, token_of

        server = PageServer(view, self.host, self.port, tls, token_of(directory), source, self.metrics_token)
        server.start()
        is_seen = not directory or (sys.stderr is not None and sys.stderr.isatty())
        shown = server.url if is_seen else f"{server.address} (its token is in {os.path.join(directory, TOKEN_FILE)})"
        print(f"The page of {whose}: {shown}", file=sys.stderr, flush=True)
        return server


def add_page_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("web page")
    text = "serve a web page there (default of HOST: this machine only); other addresses require a certificate"
    group.add_argument("--http", default="", metavar="[HOST:]PORT", help=text)
    text = f"the same as --http {DISPY_PORT}, as in dispy"
    group.add_argument("--httpd", action="store_true", help=text)
    text = "let the page cancel jobs, and change and drain nodes; without it the page only shows"
    group.add_argument("--http_admin", "--http-admin", action="store_true", help=text)
    text = "file with the token that Prometheus sends for /metrics; without it, only programs on this machine get them"
    group.add_argument("--metrics_token_file", "--metrics-token-file", default="", metavar="FILE", help=text)
    text = f"computations that metrics name; others count as 'other' (default: {MOST_COMPUTATIONS}; 0: name none)"
    group.add_argument("--metrics_computations", "--metrics-computations", type=int, metavar="NUMBER", help=text)


def page_options(options: ResolvedOptions) -> PageOptions | None:
    """The options, checked; None if no page is wanted. Raises ConfigError."""
    place = options.read("http", page_place, None) or (("127.0.0.1", DISPY_PORT) if options.httpd else None)
    names = ("http_admin", "metrics_token_file", "metrics_computations")
    if place is None:
        for name in names:
            if is_given(getattr(options, name)):
                raise ConfigError(f"--{name} needs --http [HOST:]PORT")
        return None
    most = options.read("metrics_computations", within(0, 10_000), MOST_COMPUTATIONS)
    return PageOptions(*place, bool(options.http_admin), options.read("metrics_token_file", _token_in, ""), int(most))


def _token_in(path: str) -> str:
    """The token in a file, which is not that of the page. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as file:
            token, mode = file.read(1000).strip(), os.fstat(file.fileno()).st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{path} must have one line with a token of {SHORTEST_TOKEN} characters or more without spaces, such as "
            "that of: openssl rand -hex 32"
        )
    if mode & stat.S_IROTH:  # A group may read it: that of Prometheus, which often runs as another user.
        logger.warning("%s: all users of this machine can read the token of the metrics: chmod o-r %s", path, path)
    return token


def page_place(text: str) -> tuple[str, int]:
    """Host and port of a page. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    # Address.parse does not take port 0, any free one.
    if not port.isascii() or not port.isdecimal() or int(port) > 65535 or (colon and not host):
        raise ConfigError(f"write PORT or HOST:PORT, such as 8181, not {text!r}")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)
