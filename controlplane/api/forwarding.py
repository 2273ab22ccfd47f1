"""Who really asks, behind proxies: `X-Forwarded-For` and `Forwarded`, read from the right and only from who is trusted.

Each proxy appends the address that it saw, so what stands furthest to the right was written by the nearest one. What
stands left of the first address that is no trusted proxy's was written by a client, and may be anything.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_HOPS = 16
"""No chain of proxies is longer; what is further left is not looked at."""
_PAIR = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*("[^"\\]*"|[^",;\s]*)\s*')
_SCHEMES = ("http", "https")


class Hop(NamedTuple):
    """What one proxy said of the connection that it took: by whom, and how. None: it did not say, or not legibly."""

    address: Address | None
    scheme: str | None


class Forwarding:
    """Puts the client's address and scheme in the place of the proxy's, where the proxy is trusted."""

    def __init__(self, app: ASGIApp, trusted: Callable[[], Sequence[Network]]) -> None:
        self._app, self._trusted = app, trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        trusted = self._trusted() if scope["type"] == "http" else ()
        client = scope.get("client")
        peer = peer_address(client[0]) if trusted and client else None
        if peer is not None and is_trusted(peer, trusted):
            said = client_behind(peer, Headers(scope=scope), trusted)
            changed = {"scheme": said.scheme} if said.scheme else {}
            scope = {**scope, "client": (str(said.address), 0), **changed}
        await self._app(scope, receive, send)


def client_behind(peer: Address, headers: Headers, trusted: Sequence[Network]) -> Hop:
    """Return the client's address and scheme as the trusted proxy `peer` tells them; its own address where it does not.

    A proxy writes one of the two headers and passes the other on as a client sent it. Where both are there and name
    different clients, nothing tells which is which, and neither is believed.
    """
    listed, standard = _x_forwarded(headers), _forwarded(headers)
    if listed is not None and standard is not None:
        one, other = _walk(peer, listed, trusted), _walk(peer, standard, trusted)
        return one if one.address == other.address else Hop(peer, None)
    return _walk(peer, listed or standard or (), trusted)


def is_trusted(address: Address, trusted: Iterable[Network]) -> bool:
    """Tell whether the address is in one of the networks; an IPv4 address may come as IPv6."""
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in trusted)


def _walk(peer: Address, hops: Sequence[Hop], trusted: Sequence[Network]) -> Hop:
    nearest = Hop(peer, None)
    for hop in list(reversed(hops))[:MAX_HOPS]:
        if hop.address is None:
            break
        nearest = Hop(hop.address, hop.scheme or nearest.scheme)
        if not is_trusted(hop.address, trusted):
            break
    return nearest


def _x_forwarded(headers: Headers) -> Sequence[Hop] | None:
    """Return the hops of X-Forwarded-For, each with its X-Forwarded-Proto where there are as many of them."""
    addresses = _items(headers, "x-forwarded-for")
    if not addresses:
        return None
    schemes = [_scheme(item) for item in _items(headers, "x-forwarded-proto")]
    if len(schemes) != len(addresses):
        # One for all: written by the nearest proxy, or passed on by it from the one that ended TLS.
        schemes = [schemes[-1] if schemes else None] * len(addresses)
    return [Hop(_address(item), scheme) for item, scheme in zip(addresses, schemes, strict=True)]


def _forwarded(headers: Headers) -> Sequence[Hop] | None:
    """Return the hops of Forwarded (RFC 7239)."""
    hops = []
    for element in _items(headers, "forwarded"):
        pairs = [_PAIR.fullmatch(part) for part in element.split(";")]
        found = {pair[1].lower(): pair[2].strip('"') for pair in pairs if pair}
        legible = all(pairs)
        hops.append(Hop(_address(found.get("for", "")) if legible else None, _scheme(found.get("proto", ""))))
    return hops or None


def _items(headers: Headers, name: str) -> list[str]:
    text = ",".join(headers.getlist(name))
    return [item.strip() for item in text.split(",")] if text.strip() else []


def _address(text: str) -> Address | None:
    """Return an address that may come with a port, or as `[IPv6]`; None for anything else, such as `unknown`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _scheme(text: str) -> str | None:
    return text.lower() if text.lower() in _SCHEMES else None


def peer_address(host: str) -> Address | None:
    """Return the address of a connection's other end; None where it is no IP address."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
