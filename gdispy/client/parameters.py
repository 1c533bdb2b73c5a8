"""Checks of the parameters of clusters and of `submit`, and the encoding of the arguments of jobs.

All functions run in the user's thread. Each check raises ConfigError, or TypeError for the arguments of a job, with a
sentence that describes the error.

Later versions of dispy renamed some parameters. Both names are accepted as keywords and mapped to ours: `both_names`.
"""

from __future__ import annotations

import functools
import inspect
import logging
import socket
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from gdispy import config
from gdispy.client.job import DispyJob
from gdispy.client.packaging import bulk
from gdispy.client.return_patterns import ReturnPatterns
from gdispy.client.user_callbacks import JobCallback, StatusCallback
from gdispy.discovery import targets
from gdispy.errors import ConfigError
from gdispy.journal.recovery_file import FAILED, recovery_path
from gdispy.log import show_on_terminal
from gdispy.protocol.address import host_flaw
from gdispy.protocol.limits import INLINE
from gdispy.protocol.payload import Bulk
from gdispy.transport.credentials import Secret, find_secret, generate_secret
from gdispy.transport.interfaces import announced
from gdispy.worker import pickling
from gdispy.worker.manner import Manner
from gdispy.worker.paths_to import unpicklable
from gdispy.worker.result_encoding import PICKLED, PLAIN

logger = logging.getLogger("gdispy")

#: Names of later versions of dispy -> ours.
_LATER_NAMES = {
    "host": "ip_addr",
    "scheduler_host": "scheduler_node",
    "ext_host": "ext_ip_addr",
    "recover_file": "fault_recover",
    "job_status": "callback",
}


#: The positional parameters of version 4 of dispy, under our names.
_FOURTH_VERSION = (
    *("computation", "nodes", "depends", "callback", "cluster_status", "ip_addr", "dispy_port", "ext_ip_addr"),
    *("ip_addr", "ext_ip_addr", "ipv4_udp_multicast", "dest_path", "loglevel", "callback", "setup", "cleanup"),
)
#: The positional parameters of a SharedJobCluster in the first documentation of dispy, where the fourth is not a
#: callback.
_FIRST_SHARED = (
    *("computation", "nodes", "depends", "ip_addr", "port", "scheduler_node", "scheduler_port", "ext_ip_addr"),
    *("dest_path", "cleanup", "reentrant", "secret", "keyfile", "certfile"),
)


def both_names(initialise: Callable[..., None]) -> Callable[..., None]:
    """Decorates an `__init__` so that it accepts the names and positions of both generations of dispy, and checks plain
    parameters."""
    signature = inspect.signature(initialise)
    is_shared = "scheduler_node" in signature.parameters

    @functools.wraps(initialise)
    def checking(self: object, /, *args: object, **kwargs: object) -> None:
        args, placed = _other_places(args, is_shared)
        for name in placed.keys() & kwargs.keys():
            raise TypeError(f"{name} is given by position and by name")
        bound = signature.bind(self, *args, **own_names({**kwargs, **placed}, is_shared))
        for name, value in bound.arguments.items():
            bound.arguments[name] = _lenient(name, value)
            check_plain(name, bound.arguments[name])
        initialise(*bound.args, **bound.kwargs)

    return checking


def _other_places(args: tuple[object, ...], is_shared: bool) -> tuple[tuple[object, ...], dict[str, object]]:
    """The remaining positional arguments, and the others by name, if they are in the order of another version of dispy,
    which their types show."""
    order: tuple[str, ...] = ()
    if len(args) > 4 and callable(args[4]):
        order = _FOURTH_VERSION
    elif is_shared and _is_first_shared(args):
        order = _FIRST_SHARED
    if not order:
        return args, {}
    if len(args) > len(order):
        raise TypeError(f"{len(args)} positional arguments are too many: give those after the {len(order)}th by name")
    placed = {name: value for name, value in zip(order[3:], args[3:], strict=False) if value is not None}
    return args[:3], placed


def _is_first_shared(args: tuple[object, ...]) -> bool:
    """Whether the fourth argument is `ip_addr`: it, or a following one, has a type that only that order has there."""
    if len(args) > 3 and callable(args[3]):
        return False
    # The types at these positions in that order; in the other order each is one position later.
    for value, kind in zip(args[3:7], (str, int, str, int), strict=False):
        if value is not None:
            return isinstance(value, kind)
    return False


def own_names(given: dict[str, object], is_shared: bool = False) -> dict[str, object]:
    """Maps keywords with the names of any version of dispy to our names."""
    own = dict(given)
    for later, name in _LATER_NAMES.items():
        value = _lenient(later, own.pop(later, None))
        if value is None:
            continue
        check_plain(later, value)
        before = own.get(name)
        if later == "job_status" and before is not None and before != value:
            logger.warning("callback and job_status are both given: only job_status is called")
        elif before and before != value:
            raise ConfigError(
                f"{later} and {name} are two names of the same parameter, with different values; give one of them"
            )
        own[name] = value
    _take_base_port(own, is_shared)
    poll = number("poll_interval", own.pop("poll_interval", None))
    check_interval("poll_interval", poll, 5, 1000)  # Not used: results are pushed.
    for name in ("pulse_interval", "ping_interval"):
        if is_shared and own.pop(name, None) is not None:
            logger.warning("%s is ignored here: it is an option of gdispy-scheduler", name)
    return own


def number(name: str, value: object) -> object:
    """Converts a number that is given as text; anything else is returned unchanged. An interval of 0 means None,
    as in dispy."""
    if isinstance(value, str):
        try:
            value = float(value) if name in _INTERVALS else int(value)
        except ValueError:
            return value
    return None if name in _INTERVALS and value == 0 and not isinstance(value, bool) else value


_INTERVALS = frozenset(["pulse_interval", "ping_interval", "poll_interval"])
_PORTS = frozenset(["port", "node_port", "client_port", "scheduler_port"])


def _take_base_port(own: dict[str, object], is_shared: bool) -> None:
    base = number("dispy_port", own.pop("dispy_port", None))
    if base is None:
        return
    if isinstance(base, bool) or not isinstance(base, int) or not 1 <= base < 65535:
        raise ConfigError(f"dispy_port must be a whole number from 1 to 65534, not {base!r}")
    ports = (("scheduler_port", base),) if is_shared else (("port", base), ("node_port", base + 1))
    for name, port in ports:
        if own.get(name) not in (None, port):
            raise ConfigError(f"dispy_port={base} means {name}={port}, but {name} is {own[name]}; give one of them")
        own[name] = port


def _lenient(name: str, value: object) -> object:
    """Converts values that dispy accepts in several forms."""
    if name in ("ip_addr", "host") and isinstance(value, list | tuple):
        return _first_here(name, list(value))
    if name in ("ext_ip_addr", "ext_host") and isinstance(value, list | tuple):
        if len(value) > 1:
            logger.warning("%s: only the first of several addresses is announced, %s", name, value[0])
        return value[0] if value else None
    if name in _INTERVALS or name in _PORTS:
        return number(name, value)
    if name == "ipv4_udp_multicast" or (name == "cleanup" and value in (0, 1, None)):
        return bool(value)
    if name == "reentrant" and not isinstance(value, bool):
        logger.warning(
            "reentrant must be True or False: %r is ignored, and jobs of a lost node are not run again", value
        )
        return False
    return value


def _first_here(name: str, addresses: list[object]) -> object:
    """The first of several addresses that this machine has. Raises ConfigError if it has none of them."""
    for address in addresses:
        check_plain(name, address)
    if len(addresses) < 2:
        return addresses[0] if addresses else None
    for address in addresses:
        if _is_here(address):
            return str(address)
    raise ConfigError(f"{name}: this machine has none of the addresses {', '.join(map(str, addresses))}")


def _is_here(address: object) -> bool:
    if not isinstance(address, str) or not address:
        return False
    try:
        family, kind, _, _, where = socket.getaddrinfo(address, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as sock:  # Not a gevent socket: this is the user's thread.
            sock.bind(where)
    except (OSError, UnicodeError):
        return False
    return True


_TEXTS = frozenset(
    ["host", "ext_host", "ip_addr", "ext_ip_addr", "dest_path", "secret", "secret_file", "keyfile", "certfile"]
)
_FLAGS = frozenset(["reentrant", "insecure", "ipv4_udp_multicast"])


def check_plain(name: str, value: object) -> None:
    """Check a parameter whose name determines its type."""
    if name in _TEXTS and value is not None:
        if not isinstance(value, str):
            raise ConfigError(f"{name} must be text, not {type(value).__name__}")
        _check_text(name, value)
    if name in _FLAGS and not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, not {value!r}")
    if name == "loglevel" and value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ConfigError(f"loglevel must be a whole number, such as gdispy.logger.DEBUG, not {value!r}")
    if name == "cleanup" and not isinstance(value, bool):
        checked_function("cleanup", value)


def _check_text(name: str, value: str) -> None:
    if "\0" in value:
        raise ConfigError(f"{name} must not contain a zero character: {value!r}")
    if name in ("ext_ip_addr", "ext_host") and value:
        try:
            announced(value)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
    if name in ("ip_addr", "host") and value and host_flaw(value):
        raise ConfigError(f"{name} {value!r}: {host_flaw(value)}")


def secret_for(wanted: targets.NodeTargets, secret: str, secret_file: str, insecure: bool) -> Secret:
    only_local = not wanted.targets and not wanted.look
    if only_local and not secret and not secret_file:
        # Nothing else should connect: not even this user's other programs need the secret.
        return find_secret(generate_secret())
    return find_secret(secret, secret_file, insecure)


def checked_recovery(fault_recover: object, resume: object) -> tuple[str, bool | str]:
    """The path of the recovery file, '' for none, and whether, and how, to resume from it."""
    if not isinstance(resume, bool) and resume != FAILED:
        raise ConfigError(f"resume must be True, False or 'failed', not {resume!r}")
    path = recovery_path(fault_recover)
    if resume and (not path or fault_recover is True):
        raise ConfigError("resume=True requires the path of the recovery file: fault_recover='jobs.recover'")
    return path, resume


def checked_results(results: object) -> str:
    """The encoding of results, as in `Prepare`. Raises ConfigError."""
    if results not in (PICKLED, PLAIN):
        raise ConfigError(f"results must be '' (pickles, any Python objects) or 'plain', not {results!r}")
    return str(results)


def check_place(is_inline: bool, program: bool, recovery: str) -> None:
    """Raise ConfigError for parameters that are not possible with `nodes='inline'`."""
    if is_inline and program:
        raise ConfigError("nodes='inline' runs functions in this process; for a program use nodes='local'")
    if is_inline and recovery:
        raise ConfigError("nodes='inline' has nothing to recover: its jobs end with this process; omit fault_recover")


def check_timeout(value: object) -> None:
    """Check the first argument of `wait` and `close`."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        hint = "; to wait for certain jobs: wait(jobs=[...])" if isinstance(value, Iterable | DispyJob) else ""
        raise ConfigError(f"timeout must be a number of seconds, or None, not {type(value).__name__}{hint}")


def check_interval(name: str, value: object, least: float, most: float) -> None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most
    ):
        raise ConfigError(f"{name} must be a number of seconds from {least} to {most}, not {value!r}")


def check_intervals(pulse: float | None, ping: float | None) -> None:
    check_interval("pulse_interval", pulse, 0.1, 1000)
    check_interval("ping_interval", ping, 1, 1000)


def checked_callback(callback: object) -> JobCallback | None:
    return _checked_function("callback", callback, 1, "one argument, a job")


def checked_status_callback(callback: object) -> StatusCallback | None:
    return _checked_function("cluster_status", callback, 3, "three arguments: a status, a node and a job")


def checked_function(name: str, function: object) -> Callable[..., object] | None:
    """Check `setup` or `cleanup`, which nodes call with the `setup_args` of their NodeAllocate."""
    if function is None:
        return None
    if not callable(function):
        raise ConfigError(f"{name} must be a function, not {type(function).__name__}")
    for parameter in _parameters(function):
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise ConfigError(f"{name} is called with positional arguments, but {parameter.name} is keyword-only")
    return function


def _parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # Some functions written in C have no signature.
        return []


def _checked_function(name: str, function: object, count: int, takes: str) -> Callable[..., object] | None:
    if function is None:
        return None
    if not callable(function):
        raise ConfigError(f"{name} must be a function, not {type(function).__name__}")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigError(
            f"{name} must be a plain function: the body of a coroutine or generator function would never run"
        )
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        raise ConfigError(f"{name} must take exactly {takes}") from None
    except ValueError:  # Some functions written in C have no signature.
        pass
    return function


def checked_ways(loglevel: int | None, isolation: str, by_value: object, by_name: object, **flags: object) -> Manner:
    """Check some parameters of a cluster, with booleans in `flags`, and set the log level; returns how objects of
    modules are sent. Raises ConfigError."""
    manner = checked_manner(by_value, by_name)
    for name, value in flags.items():
        checked_flag(name, value)
    config.msg_timeout()
    if loglevel is not None:
        show_on_terminal(loglevel)
    if isolation not in ("", "job"):
        raise ConfigError(f"isolation must be '' or 'job', not {isolation!r}")
    return manner


def checked_flag(name: str, value: object) -> bool:
    """Check a boolean parameter. Raises ConfigError."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, not {value!r}")
    return value


def check_ports(**ports: object) -> None:
    """Check the ports that are not None, given by parameter name. Raises ConfigError."""
    for name, value in ports.items():
        if value is not None:
            config.port_number(value, name)


def checked_manner(by_value: object, by_name: object) -> Manner:
    """How objects of modules are sent, according to the user. Raises ConfigError."""
    found = {}
    for parameter, given in (("by_value", by_value), ("by_name", by_name)):
        if isinstance(given, str | types.ModuleType) or not isinstance(given, Iterable):
            raise ConfigError(f"{parameter} must be a list of modules; write {parameter}=[...]")
        names = [each.__name__ if isinstance(each, types.ModuleType) else each for each in given]
        for each in names:
            if not isinstance(each, str) or not each:
                raise ConfigError(f"{parameter} must list modules or their names, not {each!r}")
            if each not in sys.modules:
                raise ConfigError(f"{parameter}: no module {each} has been imported")
        found[parameter] = frozenset(names)
    both = found["by_value"] & found["by_name"]
    if both:
        raise ConfigError(f"{', '.join(sorted(both))} cannot be in both by_value and by_name")
    return Manner(found["by_value"], found["by_name"])


def function_call(args: tuple[Any, ...], kwargs: dict[str, Any], manner: Manner | None = None) -> Bulk:
    """The encoded arguments of a function."""
    try:
        payload = pickling.dumps_call(args, kwargs, manner)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        where = unpicklable(args, manner, "args") or unpicklable(kwargs, manner, "kwargs")
        where = f" ({where})" if where else ""
        advice = "pass the data to create it from, and create it inside the function"
        raise TypeError(f"an argument of the job cannot be pickled: {reason}{where}; {advice}") from error
    return payload if type(payload) is bytes and len(payload) <= INLINE else bulk(payload)


def program_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bulk:
    if kwargs:
        names = ", ".join(kwargs)
        raise TypeError(f"a program takes no keyword arguments ({names}): give them as positional arguments")
    returned = args[-1] if args and isinstance(args[-1], ReturnPatterns) else None
    words = [arg if isinstance(arg, str) else str(arg) for arg in (args if returned is None else args[:-1])]
    if any("\0" in word for word in words):
        raise TypeError("an argument of a program must not contain a zero character")
    return bulk(pickling.dumps(words if returned is None else {"words": words, "returns": [*returned.patterns]}))
