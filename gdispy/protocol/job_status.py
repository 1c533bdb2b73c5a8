"""The statuses of a job and of a node, by the numbers that dispy 4.x gives them.

Programs compare by name; the order Cancelled < Terminated < Finished is promised.
"""

CREATED = 5
RUNNING = 6
PROVISIONAL_RESULT = 7
CANCELLED = 8
TERMINATED = 9
ABANDONED = 10
FINISHED = 11

#: Statuses that never change again.
FINAL = frozenset((CANCELLED, TERMINATED, ABANDONED, FINISHED))

#: What happens to a node, as users are told: it is set up, closed or lost, or says what is free on it.
INITIALIZED, CLOSED, AVAILABLE = 4, 16, 17
NODE_EVENTS = frozenset((INITIALIZED, CLOSED, AVAILABLE))
