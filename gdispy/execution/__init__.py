"""The node's side of the processes that run jobs: starting and ending them, their sockets, their files."""
