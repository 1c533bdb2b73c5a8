"""The roles of peers, by the names that `Hello` and the handshake give them. Pure."""

from __future__ import annotations

CLIENT = "client"
SCHEDULER = "scheduler"
NODE = "node"
#: Looks at a node and takes nothing of it.
VISITOR = "visitor"
#: A client that only collects what another one has left.
RECOVERER = "recoverer"

#: Who has opened a connection, and whom to.
CLIENT_TO_SCHEDULER = b"client>scheduler"
SCHEDULER_TO_NODE = b"scheduler>node"
NODE_TO_SCHEDULER = b"node>scheduler"
VISITOR_TO_NODE = b"visitor>node"
