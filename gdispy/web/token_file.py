"""The token of a daemon's page, in a file: so that pages continue after a restart, and logs need not contain it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets

from gdispy.errors import ConfigError
from gdispy.web.guard import KEY_BYTES

TOKEN_FILE = "page-token"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,200}")


def token_of(directory: str) -> str:
    """The token in a directory, made if there is none; a new one without a directory. Raises ConfigError."""
    if not directory:
        return secrets.token_urlsafe(KEY_BYTES)
    path = os.path.join(directory, TOKEN_FILE)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(KEY_BYTES))
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor) as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise ConfigError(f"other users can read the token of the page in {path}: remove the file")
        token = file.read(1000).strip()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"{path} contains no token: remove the file")
    return token
