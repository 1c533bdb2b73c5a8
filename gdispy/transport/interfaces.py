"""The network interfaces of this machine, and the parsing of addresses.

With psutil (the extra `net`) all interfaces are known; without it, the kernel selects one for broadcasts."""

from __future__ import annotations

import contextlib
import importlib
import ipaddress
from dataclasses import dataclass

from gevent import socket

from gdispy import config
from gdispy.errors import ConfigError
from gdispy.protocol.address import Address, host_flaw
from gdispy.protocol.discovery import ADDRESS_LIMIT

#: An address of IPv4 or IPv6, as in the functions of a socket.
SocketAddress = tuple[str, int] | tuple[str, int, int, int]
#: Family, kind, protocol, canonical name, and address, as from `getaddrinfo`.
AddressInfo = tuple[int, int, int, str, SocketAddress]


@dataclass(frozen=True)
class Interface:
    """One interface; `broadcast` and `addresses` are those of IPv4."""

    name: str
    index: int
    addresses: tuple[str, ...] = ()
    broadcast: tuple[str, ...] = ()
    addresses6: tuple[str, ...] = ()


def interfaces(ip_addr: str = "") -> list[Interface]:
    """The current interfaces; with `ip_addr` only the one that has it."""
    indices = {name: index for index, name in socket.if_nameindex()}
    try:
        known = importlib.import_module("psutil").net_if_addrs()
    except ImportError:
        return [] if ip_addr else [Interface(name, index) for name, index in indices.items()]
    found = []
    for name, rows in known.items():
        v4 = [row for row in rows if row.family == socket.AF_INET]
        v6 = tuple(with_zone(row.address.partition("%")[0], name) for row in rows if row.family == socket.AF_INET6)
        if name not in indices or (ip_addr and ip_addr not in {*(row.address for row in v4), *v6}):
            continue
        v4 = [row for row in v4 if ip_addr in ("", row.address) or ":" in ip_addr]
        broadcast = tuple(row.broadcast for row in v4 if row.broadcast)
        found.append(Interface(name, indices[name], tuple(row.address for row in v4), broadcast, v6))
    return found


def own_addresses() -> set[str]:
    """All known addresses of this machine except those of the loopback interface."""
    found = {address for each in interfaces() for address in (*each.addresses, *each.addresses6)}
    return {address for address in found if not address.startswith("127.") and address != "::1"}


def with_zone(address: str, zone: str) -> str:
    """A link-local address of IPv6 needs its interface."""
    is_link_local = address.lower().startswith(("fe8", "fe9", "fea", "feb")) and "%" not in address
    return f"{address}%{zone}" if is_link_local and zone else address


def host_of(sockaddr: SocketAddress) -> str:
    """The host of a socket address, in a form that can be connected to."""
    host = str(sockaddr[0])
    if len(sockaddr) == 4 and sockaddr[3] and ":" in host:
        try:
            return with_zone(host, socket.if_indextoname(sockaddr[3]))
        except OSError:
            return host
    return host


def is_numeric(host: str) -> bool:
    """Whether a host is an address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_here(address: str) -> bool:
    """Whether this machine has the address."""
    try:
        row = resolve(address, 0, socket.SOCK_DGRAM)[0]
        with socket.socket(row[0], socket.SOCK_DGRAM) as sock:
            sock.bind(row[4])
    except OSError:
        return False
    return True


def own_address(given: str | None) -> str:
    """The address of this machine to use, from the user or from GDISPY_IP_ADDR; '' for any. Raises ConfigError for an
    invalid address."""
    address = given or config.default_ip_addr()
    flaw = host_flaw(address) if address else ""
    if flaw:
        raise ConfigError(f"{'the address' if given else 'GDISPY_IP_ADDR'} {address!r}: {flaw}")
    return address


def announced(text: str) -> str:
    """An address to announce. Raises ConfigError if no machine can connect to it."""
    if not text:
        return ""
    try:
        host, _ = Address.parse(text)
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}") from None
    flaw = host_flaw(host)
    if flaw:
        raise ConfigError(f"{text!r}: {flaw}")
    if not is_reachable(host) or "*" in host:
        raise ConfigError(f"{text!r} is not an address that other machines can connect to")
    if len(text.encode()) > ADDRESS_LIMIT:
        raise ConfigError(f"{text!r} is longer than {ADDRESS_LIMIT} bytes")
    return text


def is_reachable(host: str) -> bool:
    """Whether an address in a packet can be that of a single machine. Names are accepted."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            raw = socket.inet_pton(family, host.partition("%")[0])
        except (OSError, ValueError):
            continue
        multicast = raw[0] == 0xFF if family == socket.AF_INET6 else raw[0] >= 224
        return any(raw) and not multicast
    return bool(host)


def main_address() -> str:
    """The address of this machine that others most likely use; '' if it has none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))  # An unassigned address; nothing is sent, but the kernel selects the interface.
        return str(sock.getsockname()[0])
    own = own_addresses()
    return min(own, key=lambda address: (":" in address, "%" in address, address), default="")


def resolve(host: str, port: int, kind: int) -> list[AddressInfo]:
    """`getaddrinfo` for a name, or an address of either kind. Raises OSError."""
    if is_numeric(host):  # Without a lookup: the first lookup starts threads, which is slow.
        return [_row(host, port, kind)]
    try:
        found: list[AddressInfo] = socket.getaddrinfo(host, port, type=kind)
    except ValueError as error:  # For an invalid host name.
        raise socket.gaierror(socket.EAI_NONAME, host_flaw(host) or str(error)) from error
    return found


def _row(address: str, port: int, kind: int) -> AddressInfo:
    bare, _, zone = address.partition("%")
    if ":" not in bare:
        return socket.AF_INET, kind, 0, "", (bare, port)
    scope = 0
    if zone:
        scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    return socket.AF_INET6, kind, 0, "", (bare, port, 0, scope)
