"""The node's management of job processes: starting and ending them, their sockets, their files."""
