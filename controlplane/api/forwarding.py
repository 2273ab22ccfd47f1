"""The client's address behind proxies: `X-Forwarded-For` and `Forwarded`, read from the right, from trusted proxies.

Each proxy appends the address of its own client, so the nearest proxy wrote the last entry. The first address from the
right that is no trusted proxy is the client's. The client wrote everything left of it, so that part is not believed.
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
"""Most entries that are read, from the right. Chosen: real chains of proxies are shorter."""
_PAIR = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*("[^"\\]*"|[^",;\s]*)\s*')
_SCHEMES = ("http", "https")


class Hop(NamedTuple):
    """A proxy's report of its client: address and scheme. None: not reported, or not readable."""

    address: Address | None
    scheme: str | None


class Forwarding:
    """Middleware that replaces a trusted proxy's address and scheme by those of the client."""

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
    """Return the client's address and scheme as the trusted proxy `peer` reports them, else the address of `peer`.

    A proxy writes one of the two headers and passes the other on as the client sent it. If both are present and name
    different clients, nothing shows which one the proxy wrote, so neither is believed.
    """
    listed, standard = _x_forwarded(headers), _forwarded(headers)
    if listed is not None and standard is not None:
        one, other = _walk(peer, listed, trusted), _walk(peer, standard, trusted)
        return one if one.address == other.address else Hop(peer, None)
    return _walk(peer, listed or standard or (), trusted)


def is_trusted(address: Address, trusted: Iterable[Network]) -> bool:
    """Return whether the address is in one of the networks. An IPv4 address mapped to IPv6 counts as IPv4."""
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
    """Return the hops of X-Forwarded-For, each with its X-Forwarded-Proto if both lists have the same length."""
    addresses = _items(headers, "x-forwarded-for")
    if not addresses:
        return None
    schemes = [_scheme(item) for item in _items(headers, "x-forwarded-proto")]
    if len(schemes) != len(addresses):
        # One scheme for all hops: the nearest proxy wrote it, or passed it on from the proxy that ended TLS.
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
    """Return the address in `1.2.3.4`, `1.2.3.4:80` or `[IPv6]:80`; None for anything else, such as `unknown`."""
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
    """Return the address of a connection's other end; None: it is not an IP address."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
