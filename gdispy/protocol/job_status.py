"""The statuses of a job and of a node, with the numbers of dispy 4.x.

Programs compare by name; the order Cancelled < Terminated < Finished is guaranteed.
"""

CREATED = 5
RUNNING = 6
PROVISIONAL_RESULT = 7
CANCELLED = 8
TERMINATED = 9
ABANDONED = 10
FINISHED = 11

NAMES = {
    CREATED: "Created",
    RUNNING: "Running",
    PROVISIONAL_RESULT: "ProvisionalResult",
    CANCELLED: "Cancelled",
    TERMINATED: "Terminated",
    ABANDONED: "Abandoned",
    FINISHED: "Finished",
}

#: Final statuses.
FINAL = frozenset((CANCELLED, TERMINATED, ABANDONED, FINISHED))

#: Events of a node, as reported to users: it is set up, closed or lost, or has reported free resources.
INITIALIZED, CLOSED, AVAILABLE = 4, 16, 17
NODE_EVENTS = frozenset((INITIALIZED, CLOSED, AVAILABLE))
