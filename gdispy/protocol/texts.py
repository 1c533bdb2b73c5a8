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

#: Beginning of the text of a job that was cancelled while it ran, or of the last line of that.
JOB_CANCELLED = "The job was cancelled"
#: Beginning of the text of a job that a scheduler has refused.
NOT_TAKEN = "The scheduler does not take the job: "
#: In the text of a job that was abandoned with its node, after the name of that.
LOST_WITH_NODE = "that ran the job is lost: "
LOST_PINNED = "that the job was submitted to is lost: "
LOST_UNKNOWN = "of the job is no longer known"
#: In the text of a job whose process has ended: its node, or the kernel, has ended it.
KILLED_BY_NODE = "its node has killed"
KILLED_BY_KERNEL = "by the kernel for lack of memory"

#: Reason of a node for offering no CPUs, among others that are separated by ', ': it is to be empty.
DRAINING = "draining"
