"""Checks of what a user gives to `JobCluster` and `submit`, and the bytes that jobs are called with.

Floor 2. Called by `cluster.py` in the user's thread. Each check raises ConfigError, or TypeError for
the arguments of a job, with a sentence that says what is wrong.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from gdispy import whom
from gdispy.computation import INLINE, bulk
from gdispy.core.payloads import Bulk
from gdispy.errors import ConfigError
from gdispy.keys import Secret, find_secret, generate_secret
from gdispy.worker import pickling


def secret_for(wanted: whom.Whom, secret: str, secret_file: str, insecure: bool) -> Secret:
    only_local = wanted.local and not wanted.targets and not wanted.look
    if only_local and not secret and not secret_file:
        # Nobody else is to come in: not even this user's other programs need the secret.
        return find_secret(generate_secret())
    return find_secret(secret, secret_file, insecure)


def refuse_what_is_not_there(fault_recover: Any, keyfile: Any, certfile: Any) -> None:
    if fault_recover:
        raise ConfigError("fault_recover is not available in this version of gdispy; leave it out")
    if keyfile or certfile:
        raise ConfigError(
            "keyfile and certfile are not available in this version of gdispy; connections are always "
            "encrypted with the secret, so leave them out"
        )


def check_interval(name: str, value: Any, least: float, most: float) -> None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most
    ):
        raise ConfigError(f"{name} must be a number of seconds from {least} to {most}, not {value!r}")


def checked_callback(callback: Any) -> Callable[[Any], Any] | None:
    if callback is None:
        return None
    if not callable(callback):
        raise ConfigError(f"callback must be a function, not {type(callback).__name__}")
    try:
        inspect.signature(callback).bind(None)
    except TypeError:
        raise ConfigError("callback must take exactly one argument, a job") from None
    except ValueError:  # No signature is known of some functions written in C.
        pass
    return callback  # type: ignore[no-any-return]


def function_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bulk:
    """The arguments of a function as they travel."""
    try:
        payload = pickling.dumps_call(args, kwargs)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise TypeError(f"an argument of the job cannot be pickled: {reason}") from error
    return payload if type(payload) is bytes and len(payload) <= INLINE else bulk(payload)


def program_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bulk:
    if kwargs:
        names = ", ".join(kwargs)
        raise TypeError(f"a program takes no keyword arguments ({names}): write them as its words")
    words = [arg if isinstance(arg, str) else str(arg) for arg in args]
    if any("\0" in word for word in words):
        raise TypeError("an argument of a program must not hold a zero character")
    return bulk(pickling.dumps(words))
