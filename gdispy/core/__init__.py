"""The rules: decisions over typed messages, and the bytes they travel as. No I/O of any kind.

Floor 1. Nothing here imports gevent, socket, os, time, threading, random or logging: time is an
argument, randomness is handed in, and what is to be done is returned as a list of effects.
"""
