"""Ctrl-C in commands that wait: as an event, since gevent would raise it in an arbitrary greenlet, and print it."""

from __future__ import annotations

import signal

import gevent
import gevent.event


def interrupted() -> gevent.event.Event:
    """An event that is set by Ctrl-C from now on."""
    event = gevent.event.Event()
    gevent.signal_handler(signal.SIGINT, event.set)
    return event
