"""The listening sockets: one for each worker, all on one address (SO_REUSEPORT). The supervisor holds them.

The kernel spreads new connections over the sockets. The queue of a socket is lost only when the last process closes it,
so the connections of a dead worker wait for its successor.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from controlplane.gateway.errors import NotListening

BACKLOG = 2048
"""Connections that wait for a worker. Chosen: a worker accepts 10,000 a second, and starts within a second."""


class Address(NamedTuple):
    """An address to listen on."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str, field: str) -> Address:
        """Read `host:port`; port 0 stands for any free one. Raises NotListening, which names `field`."""
        host, colon, port = text.rpartition(":")
        host = host.strip("[]")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise NotListening(f"{field}: expected host:port such as 127.0.0.1:8400, got {text!r}")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it. The host is an IP address, as bound_address returns it."""
        return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def check_free(address: Address, field: str) -> None:
    """Raise NotListening when a process listens on the address.

    SO_REUSEPORT alone would let a second gateway of the same user share the port without a word.
    """
    if address.port:
        with _bound(address, address, field, shared=False):
            pass


def bind_all(address: Address, count: int, field: str, held: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """Return at least `count` sockets on one address: those in `held`, which were handed over, and new ones.

    New sockets are bound and do not listen yet. Raises NotListening, which names `field`, the address and the cure.
    """
    with ExitStack() as until_bound:
        found = list(held)
        while len(found) < count:
            where = bound_address(found[0]) if found else address
            found.append(until_bound.enter_context(_bound(where, address, field, shared=True)))
        until_bound.pop_all()
    return found


def bound_address(listening: socket.socket) -> Address:
    """Return the address of a socket, with the port that the kernel chose for port 0."""
    return Address(*listening.getsockname()[:2])


def _bound(where: Address, address: Address, field: str, *, shared: bool) -> socket.socket:
    with ExitStack() as until_bound:
        try:
            family, kind, protocol, _, name = socket.getaddrinfo(*where, type=socket.SOCK_STREAM)[0]
            found = until_bound.enter_context(socket.socket(family, kind, protocol))
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
            found.setblocking(False)
            found.bind(name)
        except OSError as error:
            raise NotListening(f"{field}: {address}: {error.strerror}; choose another address") from error
        until_bound.pop_all()
    return found
