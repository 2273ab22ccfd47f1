"""Addresses of servers as proxies write them."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit


def host_port(url: str) -> str:
    """Return host:port of a server's address: `https://a` -> `a:443`."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{port}"


async def resolved(place: str) -> list[str]:
    """Return the numeric addresses of host:port. Empty: the name does not resolve here."""
    host, _, port = place.rpartition(":")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return []
    hosts = [str(address[0]) for *_, address in found]
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts]
