"""Texts that peers put into messages and compare: part of the protocol, so they must not change."""

from __future__ import annotations

#: The end of jobs of a client whose computation another process has taken over.
TAKEN_OVER = "Another process has taken over this computation, with its jobs: ask that one.\n"
#: Goodbye of a node that its owner has stopped: it will not come back.
STOPPED = "the node was stopped"
#: Prefix of the reason with which a node closes the connection of a scheduler while it serves another.
BUSY = "busy: "
#: Prefix of the reason with which a side closes a connection because of an invalid or unexpected message: the other
#: side would send it again on the next connection.
REFUSED = "a message is refused: "
#: The same after repeated refusals: there will be no more connections with this run of the node.
GIVEN_UP = "each connection is closed for the same reason"

#: Beginning of the exception of a job that was ended at its time limit.
TOO_LONG = "The job took longer than its limit"

#: Reason of a node for offering no CPUs, among others that are separated by ', ': it is to be empty.
DRAINING = "draining"
