"""Texts that peers put into messages and compare: part of the protocol, so that they stay as they are."""

from __future__ import annotations

#: Why jobs of a client ended that another process has taken over.
TAKEN_OVER = "Another process has taken over this computation, with its jobs: ask that one.\n"
#: What a node says with its goodbye when its owner has stopped it: it will not come back.
STOPPED = "the node was stopped"
#: How the reason begins with which a node closes the connection of a scheduler while it works for another one.
BUSY = "busy: "
#: How the reason begins with which a side closes a connection because of a message that is none, or none for it: the
#: other side would send it again on the next connection.
REFUSED = "a message is refused: "
#: The same where that has happened again and again: there will be no more connections with this life of the node.
GIVEN_UP = "each connection is closed for the same reason"
