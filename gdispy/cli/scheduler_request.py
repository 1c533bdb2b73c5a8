"""Requests to a shared scheduler, as the commands `gdispy status`, `usage`, `explain` and `logs` send them.

In a process that gevent has patched: it connects like a client, sends a request and waits for the answer.
"""

from __future__ import annotations

import argparse
from typing import TypeAlias, TypeVar

import gevent
from gevent.event import AsyncResult

from gdispy.cli.options import Once, add_common_options, add_secret_options, add_tls_options
from gdispy.client.shared_cluster import scheduler_place
from gdispy.errors import ConfigError, ConnectFailed
from gdispy.net import connect
from gdispy.protocol import roles
from gdispy.protocol.address import Address
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import (
    JobFactsRequest,
    LogRequest,
    Message,
    OverviewRequest,
    RunningJobsRequest,
    UsageRequest,
)
from gdispy.transport.connection import Handlers, new_identity
from gdispy.transport.credentials import Secret, find_secret, with_tls
from gdispy.transport.greeting import hello, own_client_name

#: Seconds to wait for the answer.
ANSWER_LIMIT = 10.0

Answer = TypeVar("Answer", bound=Message)
Request: TypeAlias = OverviewRequest | UsageRequest | RunningJobsRequest | JobFactsRequest | LogRequest


def add_scheduler_argument(parser: argparse.ArgumentParser) -> None:
    """Which scheduler is asked."""
    text = "host of the gdispy-scheduler (default: this machine)"
    parser.add_argument("host", nargs="?", default="", metavar="HOST[:PORT]", help=text)
    text = "the same, as an option like that of `gdispy`"
    names = ("-n", "--scheduler_node", "--scheduler_host")
    parser.add_argument(*names, dest="named", action=Once, default="", metavar="HOST[:PORT]", help=text)


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """How it is reached."""
    add_secret_options(parser)
    add_tls_options(parser)
    add_common_options(parser)


def scheduler_of(options: argparse.Namespace) -> tuple[Secret, tuple[str, int]]:
    """The secret and the place of the scheduler that is asked. Raises ConfigError and SecretError."""
    if options.host and options.named:
        raise ConfigError("name one scheduler: HOST, or -n HOST")
    secret = find_secret(options.secret, options.secret_file, options.insecure)
    secret = with_tls(secret, options.certfile, options.keyfile)
    return secret, scheduler_place(options.host or options.named, None)


class SchedulerLink:
    """A connection to a scheduler, over which one question after the other is asked."""

    def __init__(self, secret: Secret, host: str, port: int) -> None:
        """Connect. Raises ConnectFailed or PeerRejected."""
        self._place = Address(host, port)
        #: The answer that is awaited: its kind, and the number of the question.
        self._awaited: tuple[type[Message], int] | None = None
        self._answer = AsyncResult()
        self._closed = ""
        handlers = Handlers(self._on_messages, self._on_closed)  # type: ignore[arg-type]
        place = (host, port, secret.for_tcp(), roles.CLIENT_TO_SCHEDULER)
        what, advice = "gdispy-scheduler", secret.advice()
        self._connection = connect(*place, handlers, what=what, tls=secret.tls, advice=advice)
        self._connection.start()
        identity = new_identity()
        self._connection.introduce(hello(roles.CLIENT, identity.instance, own_client_name()), identity)

    def ask(self, request: Request, kind: type[Answer]) -> Answer:
        """The answer, which is of this kind. Raises ConnectFailed."""
        if self._closed:
            raise ConnectFailed(self._closed)
        self._answer, self._awaited = AsyncResult(), (kind, request.question)
        self._connection.send(request)
        try:
            found: Answer = self._answer.get(timeout=ANSWER_LIMIT)
        except gevent.Timeout:
            raise ConnectFailed(f"{self._place} does not answer") from None
        finally:
            self._awaited = None
        return found

    def close(self) -> None:
        self._connection.close("asked and answered")

    def _on_messages(self, connection: object, messages: list[object]) -> None:
        for message in messages:
            if self._awaited == (type(message), getattr(message, "question", None)):
                self._answer.set(message)

    def _on_closed(self, connection: object, reason: str) -> None:
        self._closed = f"{self._place}: {printable(reason)}"
        self._answer.set_exception(ConnectFailed(self._closed))


def ask_scheduler(secret: Secret, host: str, port: int, request: Request, kind: type[Answer]) -> Answer:
    """The answer to one question. Raises ConnectFailed or PeerRejected."""
    link = SchedulerLink(secret, host, port)
    try:
        return link.ask(request, kind)
    finally:
        link.close()
