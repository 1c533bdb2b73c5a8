"""The decisions of a client, a scheduler and a node: events are passed in, effects are returned.

Pure: time is an argument, and actions are returned as data (`effects.py`). No object here has a socket, a clock, a
file, a thread or a logger, so all of it runs in simulated worlds, any number of times.
"""
