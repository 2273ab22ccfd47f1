"""HTTP proxies between this process and a server: the one of the settings, or that of the environment."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from yarl import URL

from collectors.errors import ScrapeError
from collectors.http.credentials import basic
from collectors.target import Proxy

_SCHEMES = ("http", "https")
_KEPT = 4096
"""Number of answers that are kept: a list of exceptions costs some 20 µs, and targets are asked again and again."""


class Way(NamedTuple):
    """The proxy of one request."""

    url: URL
    """Without a user."""
    headers: dict[str, str]
    """Credentials for the proxy."""

    def options(self, url: URL, headers: dict[str, str]) -> dict[str, Any]:
        """Return aiohttp's arguments of a request, and add the credentials to `headers` where there is no tunnel.

        aiohttp sends the headers of a proxy with CONNECT alone.
        """
        if url.scheme == "http":
            headers.update(self.headers)
        return {"proxy": self.url, "proxy_headers": self.headers}


def way_to(url: URL, proxy: Proxy | None) -> Way | None:
    """Return the proxy for an address; None: there is none. Reads the environment now.

    Raises ScrapeError for a proxy that is no http:// or https:// address, without its password.
    """
    if proxy is None:
        return None
    if proxy.from_environment:
        name = f"{url.scheme}_proxy"
        given, place, exceptions = _variable(name), f"the environment's {name}", _variable("no_proxy")
    else:
        given, place, exceptions = proxy.url, "proxy_url", proxy.no_proxy
    if not given or bypassed(url, exceptions):
        return None
    # As in Go, this host is asked directly wherever there may be exceptions.
    if (proxy.from_environment or exceptions) and _is_loopback(url.host or ""):
        return None
    return _parsed(given, place)


def _variable(name: str) -> str:
    """Return a variable of the environment. As in Go, the name in capitals takes precedence."""
    return os.environ.get(name.upper()) or os.environ.get(name, "")


def bypassed(url: URL, no_proxy: str) -> bool:
    """Return whether a list such as `.svc, 10.0.0.0/8, db.example:5432` names an address.

    A name stands for itself and the names below it, `.name` and `*.name` for those below alone, `*` for all. As in Go's
    httpproxy (https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config).
    """
    return bool(no_proxy) and _bypassed((url.host or "").lower().rstrip("."), url.port, no_proxy)


@lru_cache(_KEPT)
def _bypassed(host: str, port: int | None, no_proxy: str) -> bool:
    return any(
        _names(entry.strip().lower(), host, port) for entry in no_proxy.replace(" ", ",").split(",") if entry.strip()
    )


def _names(entry: str, host: str, of: int | None) -> bool:
    if entry == "*":
        return True
    with suppress(ValueError):
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    name, colon, port = entry.rpartition(":")
    if colon and port.isdecimal():
        if int(port) != of:
            return False
        entry = name.strip("[]")
    if entry.startswith(("*.", ".")):
        return host.endswith(entry.removeprefix("*"))
    return host == entry or host.endswith(f".{entry}")


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host.lower().rstrip(".") == "localhost"


@lru_cache(_KEPT)
def _parsed(given: str, place: str) -> Way:
    try:
        url = URL(given if "://" in given else f"http://{given}")
        usable = url.scheme in _SCHEMES and url.host and url.port
    except ValueError:
        usable = False
    if not usable:
        raise ScrapeError(
            f"{place} is no address that begins with http:// or https://; other proxies are not supported"
        )
    headers = {"Proxy-Authorization": basic(url.user, url.password or "")} if url.user else {}
    return Way(url.origin() if url.user is None else url.with_user(None).origin(), headers)
