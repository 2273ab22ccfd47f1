"""The HTTP client of notifiers: one deadline, bounded answers, no redirects, and errors without secrets.

An address may itself be a secret (a webhook's), so messages name only its host.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from yarl import URL

from alerts.errors import DeliveryFailed
from alerts.notify.plain import FormRefused
from alerts.notify.text import cut, one_line
from collectors.errors import ScrapeError
from collectors.http.fetch import translated
from collectors.http.http_client import request_options
from collectors.http.retry_after import retry_after_s
from collectors.target import Auth

MAX_ANSWER_BYTES = 64 * 1024
"""Bytes that are read of an answer. Chosen: receivers answer with a sentence, and a flood must not fill the memory."""
SHOWN_ANSWER = 300
"""Characters of an answer that an error shows."""
REUSED_WITHIN_S = 1.0
"""Seconds for which a connection is kept for the next message of a burst. Chosen: servers keep idle connections for two
seconds at least (gunicorn's default; Node.js 5 s, nginx 75 s). A message on a connection that its server just closed
would fail, and its fate would be unknown."""
TRY_AGAIN = frozenset({408, 425, 429})
"""Statuses below 500 for which a retry can help. Every other one is final."""
FORM = frozenset({400, 413, 415, 422})
"""Statuses by which most receivers refuse the form of a message."""
SECRET_LENGTH = 12
"""Shortest part of an address that is hidden in errors. Chosen: secrets are longer, and words such as `webhook` not."""
_CURES = {
    401: "check the credentials",
    403: "check the credentials and the rights that they have",
    404: "check the address",
    410: "the address is no longer in use: make a new one at the receiver",
}


@dataclass(frozen=True)
class Answer:
    """A receiver's answer."""

    host: str
    status: int
    headers: Mapping[str, str]
    """Names are in lower case."""
    body: bytes
    """At most MAX_ANSWER_BYTES of it."""
    hidden: tuple[str, ...] = ()
    """Parts of the address, which may be secret. A receiver may send them back."""

    @property
    def text(self) -> str:
        """The body in one printable line without `hidden`, cut for an error."""
        return self.shown(self.body.decode(errors="replace"))

    def shown(self, text: str) -> str:
        """Return a text of the answer as an error may show it."""
        for part in self.hidden:
            text = text.replace(part, "(hidden)")
        return cut(one_line(text.strip()), SHOWN_ANSWER)

    def json(self) -> dict[str, Any]:
        """Return the body's JSON object; empty for any other body."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass
class HttpPoster:
    """Posts to one receiver."""

    name: str
    """The notifier's name."""
    auth: Auth | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    authorization: Callable[[], str] | None = None
    """Returns the value of the Authorization header, called at every request; None: `auth` has the credentials."""
    timeout_s: float = 8.0
    now: Callable[[], float] = time.time
    """Unix seconds, for a Retry-After that is a date."""
    _session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Post a body and return the answer, whatever its status.

        Raises DeliveryFailed: permanent for an unusable address and a certificate that is not accepted, and not
        permanent for everything that a later try may find better.
        """
        address = self._address(url)
        try:
            async with asyncio.timeout(self.timeout_s):
                options = await self._options(address, headers or {})
                async with self._opened().post(address, data=io.BytesIO(body), **options) as response:
                    try:
                        content = await _bounded(response)
                    finally:
                        if not response.content.at_eof():
                            response.close()  # the rest must not be drained: it may never end
                    told = {name.lower(): value for name, value in response.headers.items()}
                    return Answer(address.host or "", response.status, told, content, _secret_parts(address))
        except TimeoutError:
            raise DeliveryFailed(f"{self.name}: no answer from {address.host} within {self.timeout_s:g} s") from None
        except aiohttp.ClientConnectorCertificateError as error:
            sentence = f"{self.name}: {address.host}: {translated(error)}; renew it, or name its CA in ca_file:"
            raise DeliveryFailed(sentence, permanent=True) from None
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise DeliveryFailed(f"{self.name}: {address.host}: {translated(error)}") from None

    async def post_json(self, url: str, content: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Post JSON; see `post`."""
        return await self.post(url, orjson.dumps(content), {"Content-Type": "application/json", **(headers or {})})

    def check(self, answer: Answer, form: Collection[int] = FORM, cures: Mapping[int, str] | None = None) -> Answer:
        """Return an answer with a status of success.

        Raises FormRefused for a status in `form`, and DeliveryFailed for every other one: permanent below 500, except
        TRY_AGAIN. `cures` has words for statuses.
        """
        status = answer.status
        if 200 <= status < 300:
            return answer
        told = f" ({answer.text})" if answer.text else ""
        sentence = f"{self.name}: {answer.host} answered {status}{told}"
        if status in TRY_AGAIN or status >= 500:
            header = answer.headers.get("retry-after", "")
            wait = retry_after_s(header, self.now()) if header else None
            asked = f", and asks to wait {wait:g} s" if wait is not None else ""
            raise DeliveryFailed(f"{sentence}{asked}", retry_after=wait)
        if status in form:
            raise FormRefused(sentence)
        if 300 <= status < 400:
            sentence = f"{self.name}: {answer.host} answered {status}, a redirect, which is not followed"
            raise DeliveryFailed(f"{sentence}; set the final address", permanent=True)
        cure = {**_CURES, **(cures or {})}.get(status, "")
        raise DeliveryFailed(f"{sentence}{f'; {cure}' if cure else ''}", permanent=True)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _address(self, url: str) -> URL:
        try:
            address = URL(url)
        except ValueError:
            address = URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise DeliveryFailed(f"{self.name}: the address is not http:// or https:// with a host", permanent=True)
        return address

    async def _options(self, address: URL, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return aiohttp's arguments, with secrets read now."""
        try:
            options = await request_options(address, self.auth)
        except ScrapeError as error:
            raise DeliveryFailed(f"{self.name}: {error}") from error
        # No compression, because the size of an answer is bounded as it is received.
        options["headers"] = {"Accept-Encoding": "identity", **self.headers, **headers, **options["headers"]}
        if self.authorization is not None:
            options["headers"]["Authorization"] = self.authorization()
        return options

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(keepalive_timeout=REUSED_WITHIN_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
            )
        return self._session


def _secret_parts(address: URL) -> tuple[str, ...]:
    """Return the parts of an address that may be secret: long pieces of its path, and values of its query."""
    parts = [*address.path.split("/"), *address.raw_path.split("/"), *address.query.values()]
    return tuple(sorted({part for part in parts if len(part) >= SECRET_LENGTH}, key=len, reverse=True))


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Return the beginning of a body."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) >= MAX_ANSWER_BYTES:
            break
    return bytes(content[:MAX_ANSWER_BYTES])
