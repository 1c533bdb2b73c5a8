"""One client of a shared scheduler: its mailbox, its connection while it has one, its files.

Used in the scheduler's loop. Invariant: each message to the client passes through `send`, so its mailbox has it first.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent
import gevent.event
import gevent.lock

from gdispy.discovery.node_finder import CLIENT_DIALS
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import (
    Ended,
    Message,
    Prepare,
    Released,
    Reply,
    Run,
    Status,
    UseNode,
)
from gdispy.protocol.payload import Payload
from gdispy.protocol.rows import Claim
from gdispy.rules.scheduler.client_mailbox import ClientMailbox
from gdispy.transport.connection import Connection


class ClientProxy:
    """Represents one client; all messages to it pass through here."""

    def __init__(
        self,
        mailbox: ClientMailbox,
        when_released: Callable[[ComputationId], None],
        when_ended: Callable[[Ended], None],
    ) -> None:
        self.mailbox = mailbox
        self._when_released, self._when_ended = when_released, when_ended
        #: How many of its nodes are tried at the same time.
        self.turns = gevent.lock.BoundedSemaphore(CLIENT_DIALS)
        self.connection: Connection | None = None
        self.address = ""
        #: What it has sent on its last connection: questions about the scheduler, and anything else.
        self.has_asked = self.is_active = False
        #: Of gdispy.
        self.version = ""
        #: The claims of its `Hello`, and whether it only collects; until they are handled.
        self.claims: list[Claim] = []
        self.recovers = False
        #: It does not read its results as fast as they arrive.
        self.is_slow = False
        #: Files that belong to its computations.
        self.files: dict[ComputationId, list[Payload]] = {}

    def placed(self, run: Run) -> None:
        """Clients elsewhere are not told which jobs were sent to nodes."""

    def send(self, message: Message) -> None:
        """Send a message of the scheduler's rules to the client."""
        self.mailbox.outgoing(message)
        if isinstance(message, Ended):
            self._when_ended(message)
        if isinstance(message, Released):
            self._when_released(message.computation)
            for file in self.files.pop(message.computation, ()):
                file.release()
        if self.connection is not None:
            send = self.connection.answer if isinstance(message, Status | Reply) else self.connection.send
            send(message)

    def drop(self, reason: str) -> None:
        """Close the client's connection, as the scheduler's rules require."""
        if self.connection is not None:
            self.connection.close(reason)

    def keep_files(self, message: Message) -> None:
        if isinstance(message, Prepare | UseNode):
            files = [each for each in message.contents if isinstance(each, Payload)]
            self.files.setdefault(message.computation, []).extend(files)
