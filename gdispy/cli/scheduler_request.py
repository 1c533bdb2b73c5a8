"""One request to a shared scheduler, as the commands `gdispy status` and `gdispy usage` send it.

In a process that gevent has patched: it connects like a client, sends the request and waits for the answer.
"""

from __future__ import annotations

import argparse
from typing import TypeVar

import gevent
from gevent.event import AsyncResult

from gdispy.cli.options import Once, add_common_options, add_secret_options, add_tls_options
from gdispy.client.shared_cluster import scheduler_place
from gdispy.errors import ConfigError, ConnectFailed
from gdispy.net import connect
from gdispy.protocol import roles
from gdispy.protocol.address import Address
from gdispy.protocol.limits import printable
from gdispy.protocol.message import Message
from gdispy.transport.connection import Handlers, new_identity
from gdispy.transport.credentials import Secret, find_secret, with_tls
from gdispy.transport.greeting import hello, own_client_name

#: Seconds to wait for the answer.
ANSWER_LIMIT = 10.0

Answer = TypeVar("Answer", bound=Message)


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


def ask_scheduler(secret: Secret, host: str, port: int, request: Message, kind: type[Answer]) -> Answer:
    """The answer, which is of this kind. Raises ConnectFailed or PeerRejected."""
    answer = AsyncResult()

    def on_messages(connection: object, messages: list[object]) -> None:
        for message in messages:
            if isinstance(message, kind):
                answer.set(message)

    def on_closed(connection: object, reason: str) -> None:
        answer.set_exception(ConnectFailed(f"{Address(host, port)}: {printable(reason)}"))

    handlers = Handlers(on_messages, on_closed)  # type: ignore[arg-type]
    place = (host, port, secret.for_tcp(), roles.CLIENT_TO_SCHEDULER)
    connection = connect(*place, handlers, what="gdispy-scheduler", tls=secret.tls, advice=secret.advice())
    connection.start()
    identity = new_identity()
    connection.introduce(hello(roles.CLIENT, identity.instance, own_client_name()), identity)
    connection.send(request)
    try:
        found: Answer = answer.get(timeout=ANSWER_LIMIT)
    except gevent.Timeout:
        raise ConnectFailed(f"{Address(host, port)} does not answer") from None
    finally:
        connection.close("asked and answered")
    return found
