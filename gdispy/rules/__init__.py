"""The decisions of a client, a scheduler and a node: what has happened goes in, effects come out.

Pure: time is an argument, and what is to be done is returned as data (`effects.py`). No object here has a socket, a
clock, a file, a thread or a logger, so that all of it runs in simulated worlds, any number of times.
"""
