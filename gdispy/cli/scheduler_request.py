"""One request to a shared scheduler, as the commands `gdispy status` and `gdispy usage` send it.

In a process that gevent has patched: it connects like a client, sends the request and waits for the answer.
"""

from __future__ import annotations

from typing import TypeVar

import gevent
from gevent.event import AsyncResult

from gdispy.errors import ConnectFailed
from gdispy.net import connect
from gdispy.protocol import roles
from gdispy.protocol.address import Address
from gdispy.protocol.limits import printable
from gdispy.protocol.message import Message
from gdispy.transport.connection import Handlers, new_identity
from gdispy.transport.credentials import Secret
from gdispy.transport.greeting import hello, own_client_name

#: Seconds to wait for the answer.
ANSWER_LIMIT = 10.0

Answer = TypeVar("Answer", bound=Message)


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
