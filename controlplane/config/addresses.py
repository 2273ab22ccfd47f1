"""Comparison of addresses: whether two listeners collide, and whether an URL leads to a listener of this machine.

Names are not looked up: `check` runs on other machines than the gateway's.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

_Host = IPv4Address | IPv6Address | str
_LOCALHOST: frozenset[_Host] = frozenset((IPv4Address("127.0.0.1"), IPv6Address("::1")))
_PORTS = {"http": 80, "https": 443}


def overlap(first: str, second: str) -> bool:
    """Return whether two listeners on `host:port` collide, such as 0.0.0.0:80 and 127.0.0.1:80."""
    (ours, our_port), (theirs, their_port) = _split(first), _split(second)
    if our_port != their_port:
        return False
    return not ours.isdisjoint(theirs) or any(_is_within(a, b) or _is_within(b, a) for a in ours for b in theirs)


def leads_to(url: str, listen: str) -> bool:
    """Return whether an URL is an address of a listener on this machine, as far as its text tells."""
    parts = urlsplit(url)
    hosts, (ours, port) = _hosts(parts.hostname or ""), _split(listen)
    if (parts.port or _PORTS.get(parts.scheme)) != port:
        return False
    if any(_is_any(host) for host in hosts):
        hosts |= _LOCALHOST  # the kernel connects 0.0.0.0 to this machine
    if not hosts.isdisjoint(ours):
        return True
    own = {host for host in hosts if host == socket.gethostname().lower() or _is_loopback(host)}
    return any(_is_within(host, listener) for host in own for listener in ours)


def _split(address: str) -> tuple[frozenset[_Host], int]:
    host, _, port = address.rpartition(":")
    return _hosts(host.strip("[]")), int(port)


def _hosts(host: str) -> frozenset[_Host]:
    """Return the host as an IP address, or as a name in lower case. `localhost` is the loopback of both families."""
    host = host.partition("%")[0].lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return _LOCALHOST
    try:
        found = ip_address(host)
    except ValueError:
        return frozenset((host,))
    return frozenset((getattr(found, "ipv4_mapped", None) or found,))


def _is_any(host: _Host) -> bool:
    return not isinstance(host, str) and host.is_unspecified


def _is_loopback(host: _Host) -> bool:
    return not isinstance(host, str) and host.is_loopback


def _is_within(host: _Host, listener: _Host) -> bool:
    """Return whether a listener on all addresses has a host. Linux gives one on [::] the addresses of IPv4 too."""
    if not _is_any(listener):
        return False
    return isinstance(listener, IPv6Address) or not isinstance(host, IPv6Address)
