"""Handling of a message that could not be processed.

Pure. Rules have a function of type `OnFault`, which returns the reaction to an exception that processing one message
has raised. The rules then process no further message of that batch of the peer, and continue with all others. In tests,
and by default, the exception is raised.
"""

from __future__ import annotations

from collections.abc import Callable

from gdispy.protocol.ids import Peer
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import Message
from gdispy.protocol.texts import REFUSED
from gdispy.rules.effects import Effects

#: Called with the peer, its message and the exception; returns effects.
OnFault = Callable[[Peer, Message, Exception], Effects]


def raise_fault(peer: Peer, message: Message, error: Exception) -> Effects:
    """There is no peer to disconnect: a defect of this program."""
    raise error


def refusal(message: Message, error: Exception) -> str:
    """The reason for closing the connection, for both sides."""
    return printable(f"{REFUSED}{type(message).__name__} could not be handled ({type(error).__name__}: {error})")


def not_taken(message: Message, role: str, sender: str) -> str:
    """The same for a message that this role does not accept from its sender."""
    return f"{REFUSED}a {role} takes no {type(message).__name__} from a {sender}"
