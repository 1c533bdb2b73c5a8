"""Selects the secret: argument, file, environment, or the user's key file.

Called once by each role, before it opens any port. Anyone who has the secret can run code as the owner of the nodes
that use it; it encrypts and authenticates all traffic between machines.

Order: the argument; the given file; GDISPY_SECRET; GDISPY_SECRET_FILE; the key file of the user,
`$XDG_CONFIG_HOME/gdispy/secret` (`~/.config/gdispy/secret`), which is created on first use. A file that other users can
read, or that belongs to another user, is refused.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gdispy import config
from gdispy.errors import ConfigError, SecretError
from gdispy.protocol.handshake import GENERATED, encode_secret, purpose_key, secret_key
from gdispy.protocol.limits import encodable
from gdispy.transport.interfaces import own_address

if TYPE_CHECKING:
    from gdispy.transport.tls import Tls

logger = logging.getLogger(__name__)

#: A socket that listens there has all addresses of this machine.
ALL_ADDRESSES = "0.0.0.0"
#: Shorter pass phrases can be guessed from recorded traffic.
SHORT_PHRASE = 16
#: Maximum size of a secret.
LONGEST = 4096


@dataclass(frozen=True)
class Secret:
    """A key and its source, as a text for the user."""

    key: bytes
    source: str
    #: The key file was created just now, so no other machine can have it yet.
    is_new: bool = False
    #: No secret is used: loopback only.
    insecure: bool = False
    #: The certificate files; None without TLS.
    tls: Tls | None = None
    #: Other keys that peers may have, while a secret is being replaced.
    others: tuple[bytes, ...] = ()

    def advice(self) -> str:
        """Advice for the case that the other side has a different secret."""
        if not self.is_new:
            return f"this side's is from {self.source}"
        return (
            f"this side's secret was created just now, in {self.source}: replace it with the file that the other side "
            "uses (~/.config/gdispy/secret of its user by default)"
        )

    def for_tcp(self) -> bytes:
        return purpose_key(self.key, b"tcp")

    def for_udp(self) -> bytes:
        return purpose_key(self.key, b"udp")

    def others_for_tcp(self) -> list[bytes]:
        return [purpose_key(key, b"tcp") for key in self.others]

    def others_for_udp(self) -> list[bytes]:
        return [purpose_key(key, b"udp") for key in self.others]


def listening_address(secret: Secret, ip_addr: str, what: str) -> str:
    """The address on which a `what` listens: the given one, or all, if that does not admit strangers. Raises
    ConfigError."""
    address = own_address(ip_addr)
    if secret.insecure:
        if address and not config.is_loopback(address):
            raise ConfigError(f"without a secret, a {what} listens only on this machine, not on {address}")
        return address or "127.0.0.1"
    if not address and secret.is_new:
        logger.warning(
            "created a new secret in %s, which no other machine has: listening only on this machine. "
            "Copy the file to the other machines and restart the %s",
            secret.source,
            what,
        )
        return "127.0.0.1"
    return address or ALL_ADDRESSES


def listening_addresses(secret: Secret, ip_addrs: Sequence[str], what: str) -> list[str]:
    """The same for several addresses; an address that stands for all makes the others redundant."""
    found = [listening_address(secret, each, what) for each in ip_addrs or [""]]
    return [ALL_ADDRESSES] if ALL_ADDRESSES in found else list(dict.fromkeys(found))


def find_secret(secret: str = "", secret_file: str = "", insecure: bool = False) -> Secret:
    """The selected secret. Raises SecretError."""
    if insecure:
        if secret or secret_file:
            raise SecretError("a secret and insecure=True contradict each other")
        return Secret(bytes(32), "no secret (insecure)", insecure=True)
    if not isinstance(secret, str):
        raise SecretError(f"secret must be text, not {type(secret).__name__}")
    if secret and secret_file:
        raise SecretError("give a secret or a file with the secret, not both")
    if secret:
        return _from_text(secret, "the secret given")
    if secret_file:
        return _from_file(secret_file)
    if os.environ.get("GDISPY_SECRET"):
        return _from_text(os.environ["GDISPY_SECRET"], "GDISPY_SECRET")
    if os.environ.get("GDISPY_SECRET_FILE"):
        return _from_file(os.environ["GDISPY_SECRET_FILE"])
    return _own_key()


def with_others(secret: Secret, files: Sequence[str]) -> Secret:
    """The secret, with those in other files, which peers may have while it is being replaced. Raises SecretError."""
    if not files:
        return secret
    if secret.insecure:
        raise SecretError("a secret and insecure=True contradict each other")
    return replace(secret, others=tuple(_from_file(name).key for name in files))


def with_tls(secret: Secret, certfile: str | None, keyfile: str | None, serves: bool = False, what: str = "") -> Secret:
    """The secret, with certificate files if given. Raises ConfigError; see `tls.tls_files`."""
    if not certfile and not keyfile:
        return secret
    from gdispy.transport.tls import tls_files  # Imported on demand, since few programs need it.

    return replace(secret, tls=tls_files(certfile, keyfile, serves, what))


def generate_secret() -> str:
    """A new random secret, as text for a key file."""
    return encode_secret(secrets.token_bytes(32))


def own_key_path() -> Path:
    """The path of this user's key file."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "gdispy" / "secret"


def _from_text(text: str, source: str) -> Secret:
    text = text.removeprefix("\ufeff").strip()  # Some editors write this mark at the beginning of a file.
    if not text:
        raise SecretError(f"{source} is empty")
    if encodable(text) is not text:
        raise SecretError(f"{source} is not UTF-8 text: write it as text, or use a generated secret")
    if "\0" in text:
        raise SecretError(f"{source} contains a zero character: does it come from a binary file?")
    if len(text.splitlines()) > 1:
        raise SecretError(f"{source} has more than one line: a secret is a single line")
    if len(text.encode()) > LONGEST:
        raise SecretError(f"{source} is longer than {LONGEST} bytes: use a generated secret")
    if len(text) < SHORT_PHRASE and not text.startswith(GENERATED):
        logger.warning(
            "the pass phrase is short: with fewer than %d characters it can be guessed; a key file is safer",
            SHORT_PHRASE,
        )
    return Secret(secret_key(text), source)


def _from_file(name: str) -> Secret:
    if name == "-":
        source = "the secret on standard input"
        return _from_text(_decoded(_read_line(), source), source)
    return _from_text(_read_private(Path(name)), name)


def _read_line() -> bytes:
    """The first line of standard input."""
    stream = sys.stdin
    if stream is None or stream.closed:
        raise SecretError("the secret should come from standard input, which is closed")
    # Not as text: whether invalid bytes are an error there depends on the locale.
    if hasattr(stream, "buffer"):
        return bytes(stream.buffer.readline(LONGEST + 1024))
    return stream.readline(LONGEST + 1024).encode("utf-8", "surrogatepass")


def _decoded(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = f"{source} is not UTF-8 text: write it as text, or use a generated secret"
        raise SecretError(text) from error


def _read_private(path: Path, if_empty: str = "write the secret into it") -> str:
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:
        raise SecretError(f"the secret file {str(path)!r}: not a valid file name") from error
    except OSError as error:
        raise SecretError(f"the secret file {path} cannot be read: {error.strerror}") from error
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode):
        os.close(fd)
        raise SecretError(f"the secret file {path} is not a file")
    with os.fdopen(fd, "rb") as file:
        if hasattr(os, "geteuid") and about.st_uid not in (os.geteuid(), 0):
            raise SecretError(f"the secret file {path} belongs to another user")
        if about.st_mode & 0o077 and os.name == "posix":
            raise SecretError(f"other users can read the secret file {path}: run chmod 600 {path}")
        text = _decoded(file.read(LONGEST + 1024), f"the secret file {path}").strip()
    if not text:
        raise SecretError(f"the secret file {path} is empty: {if_empty}")
    return text


def _own_key() -> Secret:
    path = own_key_path()
    try:
        is_new = _make_key(path)
    except OSError as error:
        raise SecretError(f"the key file {path} cannot be created: {error.strerror}") from error
    found = _from_text(_read_private(path, "delete it, and a new one is created"), str(path))
    return Secret(found.key, found.source, is_new)


def _make_key(path: Path) -> bool:
    """Create the key file unless it exists; two processes that start at once use the same."""
    if path.exists() or path.is_symlink():
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".secret-{os.getpid()}-{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(generate_secret() + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike rename(), link() fails if the file exists.
        os.link(draft, path)
        return True
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(draft)
