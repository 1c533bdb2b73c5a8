"""The roles of peers, with their names in `Hello` and in the handshake. Pure."""

from __future__ import annotations

CLIENT = "client"
SCHEDULER = "scheduler"
NODE = "node"
#: Requests the status of a node and does not use it.
VISITOR = "visitor"
#: A client that only collects the jobs of another.
RECOVERER = "recoverer"

#: The role of the side that opened a connection, and of the other side.
CLIENT_TO_SCHEDULER = b"client>scheduler"
SCHEDULER_TO_NODE = b"scheduler>node"
NODE_TO_SCHEDULER = b"node>scheduler"
VISITOR_TO_NODE = b"visitor>node"
