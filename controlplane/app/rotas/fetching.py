"""Fetches a rota's calendar: one deadline, a bounded size, no redirects, and errors without the address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from yarl import URL

from collectors.errors import ScrapeError
from collectors.http.fetch import translated
from collectors.http.proxies import way_to
from collectors.target import Proxy
from controlplane.fleet.rota.calendar import MAX_BYTES, CalendarError

TIMEOUT_S = 10.0
"""Seconds for one fetch, from the connection to the last byte."""
_NOT_MODIFIED, _OK = 304, 200
MAX_ETAG = 500


class Fetched(NamedTuple):
    """An answer."""

    text: str | None
    """The calendar; None: it has not changed."""
    etag: str


async def fetch(address: str, etag: str = "", proxy: Proxy | None = None) -> Fetched:
    """Return the calendar at an address, unless it is the one with this ETag.

    `webcal:` stands for `https:`. Raises CalendarError. The address is a secret: messages have its host at most.
    """
    url = _url(address)
    headers = {"User-Agent": "llm-controlplane", "Accept": "text/calendar, */*", "Accept-Encoding": "identity"}
    headers |= {"If-None-Match": etag} if etag else {}
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _exchange(url, headers, proxy)
    except TimeoutError:
        raise CalendarError(f"no answer from {url.host} within {TIMEOUT_S:g} s") from None
    except ScrapeError as error:
        raise CalendarError(f"{url.host}: {error}") from None
    except (aiohttp.ClientError, OSError, UnicodeError) as error:
        raise CalendarError(f"{url.host}: {translated(error)}") from None


async def _exchange(url: URL, headers: Mapping[str, str], proxy: Proxy | None) -> Fetched:
    way = way_to(url, proxy)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
    )
    sent = dict(headers)
    through = way.options(url, sent) if way else {}
    async with session, session.get(url, headers=sent, allow_redirects=False, **through) as response:
        try:
            told = response.headers.get("ETag", "")
            if response.status == _NOT_MODIFIED and "If-None-Match" in headers:
                return Fetched(None, headers["If-None-Match"])
            if 300 <= response.status < 400:
                raise CalendarError(
                    f"{url.host} answered {response.status}, a redirect, which is not followed; set the final address"
                )
            if response.status != _OK:
                raise CalendarError(f"{url.host} answered {response.status}; check the address")
            return Fetched(await _text(response), told if told.isascii() and len(told) <= MAX_ETAG else "")
        finally:
            if not response.content.at_eof():
                response.close()  # the rest must not be drained: it may never end


async def _text(response: aiohttp.ClientResponse) -> str:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_BYTES:
            raise CalendarError(f"it is larger than {MAX_BYTES >> 20} MiB")
    return decoded(bytes(content))


def decoded(content: bytes) -> str:
    """Return the text of a calendar. Raises CalendarError for bytes that are no UTF-8, and for a NUL."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CalendarError("it is not UTF-8 text") from None
    if "\0" in text:
        raise CalendarError("it holds a NUL")
    return text


def _url(address: str) -> URL:
    scheme, separator, rest = address.partition("://")
    if scheme.lower() in ("webcal", "webcals"):
        address = f"https{separator}{rest}"
    try:
        url = URL(address)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise CalendarError("the address is not http:// or https:// with a host")
    return url
