"""Options files: `--config FILE` and `--save_config FILE`.

An options file is an INI file with one section, named after the command; its keys are the long options, with `_` or
`-`. No value is evaluated. Files saved by dispynode or dispyscheduler are accepted too.

Invariants: a file that contains a secret is read only if no other user can read it; a secret is never written.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import logging
import os
import secrets
import stat
from collections.abc import Iterator, Mapping

from gdispy.cli.options import adjustable, is_given
from gdispy.errors import ConfigError

logger = logging.getLogger("gdispy")

#: Options whose values are paths: saved as absolute paths, so that they are valid in any directory.
_PATHS = frozenset(
    [
        *("secret_file", "node_secret_file", "cluster_secret_file", "certfile", "keyfile", "init", "journal"),
        *("node_certfile", "node_keyfile", "cluster_certfile", "cluster_keyfile", "dest_path_prefix"),
    ]
)
#: Options that apply to one run only.
_NOT_SAVED = ("secret", "node_secret", "cluster_secret", "clean")


def read_options(path: str, section: str, parser: argparse.ArgumentParser) -> dict[str, str]:
    """The options in a file, by destination name. Raises ConfigError."""
    text, is_private = _read(path)
    ini = configparser.ConfigParser(interpolation=None)
    try:
        ini.read_string(text)
    except configparser.Error as error:
        raise ConfigError(f"{path} is not an options file: {_flaw(error)}") from None
    if ini.has_section(section):
        items = ini.items(section)
    elif ini.defaults() and not ini.sections():
        items = list(saved_by_dispy(ini.defaults(), section, path))
    else:
        raise ConfigError(f"{path} has no section [{section}]")
    names = _names(parser)
    found: dict[str, str] = {}
    for written, value in items:
        name = names.get(written.replace("-", "_"))
        if name is None:
            raise ConfigError(f"{path}: unknown option {written!r}; see {section} --help")
        if name in found:
            raise ConfigError(f"{path}: {written!r} repeats the option of an earlier line")
        found[name] = value
    if any(found.get(name) for name in _NOT_SAVED if name.endswith("secret")) and not is_private:
        raise ConfigError(
            f"{path} contains a secret and other users can read it: run chmod 600 on it, or use secret_file"
        )
    return found


#: Names in files of dispynode and dispyscheduler, of all versions -> ours.
_DISPY_NAMES = {
    "loglevel": "debug",
    "ip_addrs": "ip_addr",
    "hosts": "ip_addr",
    "ext_ip_addrs": "ext_ip_addr",
    "ext_hosts": "ext_ip_addr",
    "scheduler_host": "scheduler_node",
    "http_server": "httpd",
}
#: Values that those programs write for an option that was not given, besides '', 'None' and '[]'.
_DISPY_DEFAULTS = {("dispy_port", "9700")}
#: Options without effect here -> the value with which they have no effect in dispy either.
_WITHOUT_EFFECT = {"safe_setup": "True", "admin_secret": "", "save_config": "", "config": ""}
_ALGORITHMS = {"fair_cluster": "fair_cluster_scheduler", "fcfs_cluster": "early_cluster_scheduler"}


def saved_by_dispy(values: Mapping[str, str], section: str, path: str) -> Iterator[tuple[str, str]]:
    """The options in a file saved by dispynode or dispyscheduler. They are all in one section, each as the `repr` of
    its value; nothing is evaluated."""
    for written, text in values.items():
        value = _plain(text)
        if value in ("", "None") or (written, value) in _DISPY_DEFAULTS:
            continue
        if written in _WITHOUT_EFFECT:
            if value != _WITHOUT_EFFECT[written]:
                logger.warning("%s: %s = %s has no effect here", path, written, "..." if "secret" in written else value)
        elif written == "scheduler_alg":
            if value not in _ALGORITHMS:
                raise ConfigError(f"{path}: scheduler_alg must be one of {', '.join(_ALGORITHMS)}, not {value!r}")
            yield _ALGORITHMS[value], "yes"
        elif written == "scheduler_port" and section == "gdispy-scheduler":
            continue  # A separate port in dispy; here one port is enough.
        elif _DISPY_NAMES.get(written) == "ext_ip_addr":
            first, *others = value.split()
            if others:
                logger.warning("%s: only the first of several addresses is announced, %s", path, first)
            yield "ext_ip_addr", first
        else:
            yield _DISPY_NAMES.get(written, written), value


def _plain(text: str) -> str:
    """A value as on the command line: a list becomes its items, separated by spaces."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return " ".join(each.strip().strip("'\"") for each in text[1:-1].split(",")).strip()
    return text


def save_options(path: str, section: str, parser: argparse.ArgumentParser, options: object) -> None:
    """Write the options that were given, without the secret. Raises ConfigError."""
    ini = configparser.ConfigParser(interpolation=None)
    ini.add_section(section)
    for action in adjustable(parser):
        name, value = action.dest, getattr(options, action.dest)
        if not is_given(value) or name in _NOT_SAVED or (name.endswith("secret_file") and value == "-"):
            continue
        if name in _PATHS:
            value = os.path.abspath(value)
        text = " ".join(value) if isinstance(value, list) else str(value)
        ini.set(section, name, "yes" if value is True else text)
    draft = f"{path}.{secrets.token_hex(4)}"
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "w") as file:
                ini.write(file)
            os.replace(draft, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def _flaw(error: configparser.Error) -> str:
    """The error in an options file, without the line itself, which may contain a secret."""
    if isinstance(error, configparser.ParsingError):
        lines = [number for number, _ in getattr(error, "errors", ())]
        number = lines[0] if lines else getattr(error, "lineno", "?")
        return f"line {number} is neither [section] nor NAME = VALUE below one"
    return " ".join(str(error).split())


def _read(path: str) -> tuple[str, bool]:
    """The contents of the file, and whether it is private to this user."""
    try:
        with open(path, encoding="utf-8") as file:
            about = os.fstat(file.fileno())
            is_private = not stat.S_IMODE(about.st_mode) & 0o077 and about.st_uid in (os.geteuid(), 0)
            return file.read(), is_private
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not an options file: it is not text") from None


def _names(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The accepted keys of an options file -> the destination name."""
    actions = [(action.dest, each) for action in adjustable(parser) for each in action.option_strings]
    return {each[2:].replace("-", "_"): name for name, each in actions if each.startswith("--")}
