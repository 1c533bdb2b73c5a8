"""The rules of a client: which jobs are awaited, and what must be sent again when a connection breaks."""
