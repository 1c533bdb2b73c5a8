"""The rules of a client: pending jobs, and messages that must be sent again after a connection loss."""
