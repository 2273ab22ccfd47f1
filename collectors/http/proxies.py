"""HTTP proxies between this process and a server: the one of the settings, or that of the environment."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple
from urllib.request import getproxies_environment

from yarl import URL

from collectors.errors import ScrapeError
from collectors.http.credentials import basic
from collectors.target import Proxy

_SCHEMES = ("http", "https")


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
        found = getproxies_environment()
        given = found.get(url.scheme) or found.get("all", "")
        place = f"the environment's {url.scheme}_proxy"
        if not given or _is_loopback(url.host or "") or bypassed(url, found.get("no", "")):
            return None
    else:
        given, place = proxy.url, "proxy_url"
        if not given or bypassed(url, proxy.no_proxy):
            return None
    return _parsed(given, place)


def bypassed(url: URL, no_proxy: str) -> bool:
    """Return whether a list such as `.svc, 10.0.0.0/8, db.example:5432` names an address.

    A name stands for itself and the names below it, `.name` and `*.name` for those below alone, `*` for all. As in Go's
    httpproxy (https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config).
    """
    return any(_names(entry.strip().lower(), url) for entry in no_proxy.replace(" ", ",").split(",") if entry.strip())


def _names(entry: str, url: URL) -> bool:
    host = (url.host or "").lower().rstrip(".")
    if entry == "*":
        return True
    with suppress(ValueError):
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    name, colon, port = entry.rpartition(":")
    if colon and port.isdecimal():
        if int(port) != url.port:
            return False
        entry = name.strip("[]")
    if entry.startswith(("*.", ".")):
        return host.endswith(entry.removeprefix("*"))
    return host == entry or host.endswith(f".{entry}")


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host.lower().rstrip(".") == "localhost"


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
