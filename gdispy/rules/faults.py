"""What becomes of a peer whose message could not be handled.

Pure. Rules have a function of the kind `OnFault`, which says what is done about an exception that the handling
of one message has raised. The rules then handle no further message of that batch of the peer, and go on with all
others. In tests, and wherever nothing else is given, the exception is raised.
"""

from __future__ import annotations

from collections.abc import Callable

from gdispy.protocol.ids import Peer
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import Message
from gdispy.protocol.texts import REFUSED
from gdispy.rules.effects import Effects

#: Given the peer, its message and the exception: what is to be done.
OnFault = Callable[[Peer, Message, Exception], Effects]


def raise_fault(peer: Peer, message: Message, error: Exception) -> Effects:
    """Nobody is there who could drop the peer: a defect of this program."""
    raise error


def refusal(message: Message, error: Exception) -> str:
    """Why the connection is closed, for both sides."""
    return printable(f"{REFUSED}{type(message).__name__} could not be handled ({type(error).__name__}: {error})")


def not_taken(message: Message, role: str, sender: str) -> str:
    """The same for a message that nobody in this role takes from who has sent it."""
    return f"{REFUSED}a {role} takes no {type(message).__name__} from a {sender}"
