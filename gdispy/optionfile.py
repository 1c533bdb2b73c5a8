"""Files of options: `--config FILE` and `--save_config FILE`.

Floor 3. Used by `serve.py`. An INI file with one section, named like the command; its names are those of the long
options, with `_` or `-`. It is text and nothing else: no value is evaluated.

Invariants: a file that holds a secret is read only if nobody else can read it; no secret is ever written.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import os
import secrets
import stat

from gdispy.errors import ConfigError
from gdispy.options import adjustable, is_given

#: Options whose values are paths; a saved file must mean the same from another directory.
_PATHS = frozenset(
    [
        *("secret_file", "node_secret_file", "cluster_secret_file", "certfile", "keyfile", "init", "journal"),
        *("node_certfile", "node_keyfile", "cluster_certfile", "cluster_keyfile", "dest_path_prefix"),
    ]
)
#: Options that are for one start.
_NOT_SAVED = ("secret", "node_secret", "cluster_secret", "clean")


def read_options(path: str, section: str, parser: argparse.ArgumentParser) -> dict[str, str]:
    """The options in a file, by the names of their values. Raises ConfigError."""
    text, is_private = _read(path)
    ini = configparser.ConfigParser(interpolation=None)
    try:
        ini.read_string(text)
    except configparser.Error as error:
        raise ConfigError(f"{path} is no options file: {' '.join(str(error).split())}") from None
    if not ini.has_section(section):
        raise ConfigError(f"{path} has no section [{section}]")
    names = _names(parser)
    found: dict[str, str] = {}
    for written, value in ini.items(section):
        name = names.get(written.replace("-", "_"))
        if name is None:
            raise ConfigError(f"{path}: there is no option {written!r}; {section} --help tells which there are")
        if name in found:
            raise ConfigError(f"{path}: {written!r} says again what another line has said")
        found[name] = value
    if any(found.get(name) for name in _NOT_SAVED if name.endswith("secret")) and not is_private:
        raise ConfigError(f"{path} holds a secret and others can read it: run chmod 600 on it, or use secret_file")
    return found


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


def _read(path: str) -> tuple[str, bool]:
    """What is in the file, and whether nobody else can read it."""
    try:
        with open(path, encoding="utf-8") as file:
            about = os.fstat(file.fileno())
            is_private = not stat.S_IMODE(about.st_mode) & 0o077 and about.st_uid in (os.geteuid(), 0)
            return file.read(), is_private
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no options file: it is not text") from None


def _names(parser: argparse.ArgumentParser) -> dict[str, str]:
    """How options may be written in a file -> the name of their value."""
    actions = [(action.dest, each) for action in adjustable(parser) for each in action.option_strings]
    return {each[2:].replace("-", "_"): name for name, each in actions if each.startswith("--")}
