"""The command `gdispy certificate`: creates a certificate and its private key, for sites that require TLS.

The openssl program does the work. The certificate is self-signed: the secret is what protects a connection, see
`transport/tls.py`.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from gdispy.cli.options import add_common_options, fail, parse, set_up_logging
from gdispy.errors import ConfigError, GdispyError

CERTIFICATE, KEY = "gdispy-cert.pem", "gdispy-key.pem"
#: Default number of days until the certificate expires.
DAYS = 3650

_EXAMPLES = f"""examples:
  gdispy certificate                      create {CERTIFICATE} and {KEY} here
  gdispy certificate --out ~/tls --name lab.example.org

Copy both files to all machines and pass them to all sides:
  gdispy-node --certfile {CERTIFICATE} --keyfile {KEY}
  JobCluster(..., certfile='{CERTIFICATE}', keyfile='{KEY}')
"""


def certificate_parser() -> argparse.ArgumentParser:
    """The options of `gdispy certificate`."""
    parser = argparse.ArgumentParser(
        prog="gdispy certificate",
        description="Create a self-signed certificate for TLS and its private key.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", default=".", metavar="DIR", help="directory for the two files (default: here)")
    add("--name", default="", metavar="HOST", help="host name in the certificate (default: this host)")
    add("--days", type=int, default=DAYS, metavar="N", help=f"days until it expires (default: {DAYS})")
    add_common_options(parser)
    return parser


def certificate_main(words: Sequence[str] | None = None) -> int:
    """`gdispy certificate`; the exit code."""
    options = parse(certificate_parser(), words)
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        for path in make_certificate(options.out, options.name or platform.node() or "gdispy", options.days):
            print(path)
    except (GdispyError, OSError) as error:
        return fail("gdispy certificate", error)
    return 0


def make_certificate(directory: str, name: str, days: int = DAYS) -> tuple[str, str]:
    """Create the two files in a directory; returns their paths. Raises ConfigError; replaces no file."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,64}", name):
        raise ConfigError(f"--name must be a host name or an address, not {name!r}")
    if not 1 <= days <= 100_000:
        raise ConfigError(f"--days must be between 1 and 100000, not {days}")
    openssl = shutil.which("openssl")
    if openssl is None:
        raise ConfigError(
            "the openssl program is not installed: install it (apt-get install openssl), or run this command on a "
            "machine that has it and copy the two files"
        )
    os.makedirs(directory, mode=0o700, exist_ok=True)
    goals = (os.path.join(directory, CERTIFICATE), os.path.join(directory, KEY))
    for goal in goals:
        if os.path.lexists(goal):
            raise ConfigError(f"{goal} already exists: remove it, or choose another --out")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".gdispy-") as draft:  # Mode 0700, which protects the key.
        drafts = (os.path.join(draft, CERTIFICATE), os.path.join(draft, KEY))
        _run(openssl, name, days, *drafts)
        os.chmod(drafts[0], 0o644)
        os.chmod(drafts[1], 0o600)
        for path, goal in reversed(list(zip(drafts, goals, strict=True))):
            os.link(path, goal)  # Unlike rename, fails if the file exists.
    return goals


def _run(openssl: str, name: str, days: int, certificate: str, key: str) -> None:
    kind = "IP" if re.fullmatch(r"[0-9.]+|.*:.*", name) else "DNS"
    words = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256"]
    words += ["-days", str(days), "-subj", f"/CN={name}", "-addext", f"subjectAltName={kind}:{name}"]
    done = subprocess.run([*words, "-keyout", key, "-out", certificate], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(f"openssl could not create the certificate: {last}")
