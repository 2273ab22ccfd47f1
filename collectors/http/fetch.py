"""Reads a target over HTTP, with one deadline for the whole read, a bounded body, and errors that name the cause.

Nothing that a target sends is trusted. Redirects are followed on the same server only (redirects.py); cookies are not
kept.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from aiohttp.tracing import Trace
from yarl import URL

from collectors.errors import ExpositionError, Redirected, ScrapeError, ScrapeTimeout, UnexpectedStatus, Unreachable
from collectors.http.answer import Answer, Progress
from collectors.http.credentials import authorization, basic
from collectors.http.plain_http import PlainConnection
from collectors.http.proxies import way_to
from collectors.http.redirects import followed
from collectors.http.tls import verification
from collectors.target import Auth

ACCEPT = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3"
"""Accept header of Prometheus 3 when its scrape_protocols are PrometheusText1.0.0 and 0.0.4.

OpenMetrics is not in it, because servers rename families in that format.
"""
_KEEPALIVE_S = 75.0
"""Seconds that an idle connection stays open: nginx's keepalive_timeout. It is longer than usual scrape intervals, so
that there is one TLS handshake."""
HTTP_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError, UnicodeError)
"""The errors of a request that `translated` puts into words. TimeoutError is one of OSError: catch it before."""
_T = TypeVar("_T")


class HttpSource:
    """Implements collectors.target.Source over HTTP, with one connection that stays open between scrapes."""

    def __init__(
        self,
        url: str,
        auth: Auth | None = None,
        *,
        max_body_bytes: int = 16 * 2**20,
        user_agent: str = "llm-controlplane",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`headers` replace the usual ones of the same name."""
        self._url = url
        self._address: tuple[URL, str | None] | None = None
        self._auth = auth
        self._max_body_bytes = max_body_bytes
        usual = {"Accept": ACCEPT, "Accept-Encoding": "gzip", "User-Agent": user_agent}
        self._headers = {**usual, **(headers or {})}
        self._thread = _OwnThread()
        self._progress = Progress()
        self._moved: URL | None = None
        """Where permanent redirects led in the last scrape. Forgotten when a scrape there fails."""
        self._request: tuple[URL, Mapping[str, str], bytes] | None = None
        """The last request without TLS, with its address and headers: it is nearly always the same."""
        self._plain: PlainConnection | None = None
        self._session: aiohttp.ClientSession | None = None
        """Session for a target behind TLS or a proxy; None for other targets."""

    async def read(self, timeout_s: float) -> bytes:
        """Return the decompressed body of a 200 answer.

        A redirect on the same server is followed within the deadline, with the credentials.
        Raises ScrapeTimeout at the deadline, UnexpectedStatus for other redirects,
        ExpositionError for an answer that is not HTTP, and other ScrapeErrors.
        No message contains credentials.
        """
        self._progress.restart()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(timeout_s)
        except TimeoutError:
            raise ScrapeTimeout(f"timed out after {timeout_s:g}s ({self._progress.stage})") from None
        except HTTP_ERRORS as error:
            raise translated(error) from error

    @property
    def content_type(self) -> str:
        """Content-Type of the last good answer; "" without one."""
        return self._progress.answer.content_type if self._progress.answer else ""

    async def close(self) -> None:
        """Close the connection."""
        if self._plain:
            self._plain.abort()
            self._plain = None
        if self._session:
            await self._session.close()
            self._session = None
        self._thread.close()

    async def _exchange(self, timeout_s: float) -> bytes:
        self._address = self._address or address_of(self._url)
        url, own = self._address
        credentials: str | None = None
        verify: ssl.SSLContext | bool = True
        if self._auth:
            # Secrets may be on a network file system that stalls.
            credentials, verify = await self._thread.run(self._prepare, self._auth)
        headers = {**self._headers, "X-Prometheus-Scrape-Timeout-Seconds": f"{timeout_s:g}"}
        issuer = self._auth.issuer if self._auth else None
        if issuer:
            self._progress.issuer = issuer.place
            credentials = await issuer.authorization()
            self._progress.issuer = ""
        if credentials or own:
            headers["Authorization"] = credentials or own or ""
        try:
            return await self._follow(self._moved or url, headers, verify)
        except UnexpectedStatus as error:
            if issuer is None or error.status != HTTPStatus.UNAUTHORIZED:
                raise
            self._progress.issuer = issuer.place
            other = await issuer.instead_of(headers["Authorization"])
            self._progress.issuer = ""
            if other is None:
                raise
        return await self._follow(self._moved or url, {**headers, "Authorization": other}, verify)

    async def _follow(self, url: URL, headers: Mapping[str, str], verify: ssl.SSLContext | bool) -> bytes:
        self._moved, moved, hops, permanent = None, self._moved, 0, True
        while True:
            try:
                body = await self._ask(url, headers, verify)
            except Redirected as redirect:
                hops += 1
                url, permanent = followed(url, redirect, hops), permanent and redirect.permanent
                continue
            if permanent and (hops or moved):
                self._moved = url
            return body

    async def _ask(self, url: URL, headers: Mapping[str, str], verify: ssl.SSLContext | bool) -> bytes:
        way = way_to(url, self._auth.proxy) if self._auth else None
        if url.scheme == "http" and way is None:
            return await self._ask_plain(url, headers)
        session = self._session or self._connect()
        name, sent = self._auth.server_name if self._auth else "", dict(headers)
        async with session.get(
            url,
            headers=sent,
            ssl=verify,
            server_hostname=name or None,
            allow_redirects=False,
            **(way.options(url, sent) if way else {}),
        ) as response:
            try:
                return await self._body(response)
            finally:
                # The rest of a body must not be drained: it may never end.
                if not response.content.at_eof():
                    response.close()

    async def _ask_plain(self, url: URL, headers: Mapping[str, str]) -> bytes:
        if self._request is None or self._request[:2] != (url, headers):
            lines = [f"GET {url.raw_path_qs} HTTP/1.1", f"Host: {url.host_port_subcomponent}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self._request = url, headers, "\r\n".join([*lines, "", ""]).encode()
        _, _, request = self._request
        open_one, now = self._plain, asyncio.get_running_loop().time()
        if open_one and open_one.usable and now - open_one.last_used < _KEEPALIVE_S:
            try:
                return await open_one.ask(request)
            except (OSError, Unreachable):
                if open_one.received:
                    raise
                # The server closed the idle connection while this request was sent. That is no fault of the target.
        elif open_one:
            open_one.abort()
        self._progress.restart()
        assert url.raw_host and url.port
        self._plain = await PlainConnection.open(
            url.raw_host, url.port, self._resolve, self._max_body_bytes, self._progress
        )
        return await self._plain.ask(request)

    async def _resolve(self, host: str, port: int) -> list[Any]:
        return await self._thread.run(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)

    def _connect(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=_Connector(self._progress, self._thread),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
        )
        return self._session

    def _prepare(self, auth: Auth) -> tuple[str | None, ssl.SSLContext | bool]:
        return authorization(auth), verification(auth)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = self._progress.answer = Answer(response.status, headers, self._max_body_bytes)
        async for chunk in response.content.iter_any():
            answer.feed(chunk)
        return answer.finish()


class _Connector(aiohttp.TCPConnector):
    """Keeps one connection open, and reports to `progress` when it is established."""

    def __init__(self, progress: Progress, thread: _OwnThread) -> None:
        super().__init__(limit=1, keepalive_timeout=_KEEPALIVE_S, resolver=_Resolver(thread))
        self._progress = progress

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:
        """Return the connection for a request, an open one if possible."""
        connection = await super().connect(req, traces, timeout)
        self._progress.connected = True
        return connection


def address_of(url: str) -> tuple[URL, str | None]:
    """Return the URL without its user part, and the Authorization value of that part. Raises Unreachable."""
    try:
        parsed = URL(url)
    except ValueError as error:
        raise Unreachable("not a usable URL") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or not parsed.port:
        raise Unreachable("not a usable URL")
    if parsed.user is None:
        return parsed, None
    return parsed.with_user(None), basic(parsed.user, parsed.password or "")


class _OwnThread:
    """Runs one target's blocking calls, one after the other, in a thread of its own.

    Name resolution cannot be cancelled and can take minutes. In asyncio's shared pool, a few targets with a dead name
    server would occupy every thread, and block name resolution and large parses of all other targets.
    """

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[..., _T], *args: object) -> _T:
        """Return the result of `call(*args)`."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scrape")
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)

    def close(self) -> None:
        """Let the thread end when its current call returns. It starts again when needed."""
        if self._executor:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


class _Resolver(AbstractResolver):
    """Resolves names by the system. aiohttp does not call it for literal addresses."""

    def __init__(self, thread: _OwnThread) -> None:
        self._thread = thread

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the host's addresses. Raises OSError when the name cannot be resolved."""
        found = await self._thread.run(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Do nothing: the source owns the thread."""


def translated(error: Exception) -> ScrapeError:
    """Translate an error of aiohttp or of the system. The message contains neither URLs nor headers."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            detail = getattr(error.certificate_error, "verify_message", "") or "not valid for this host"
            return Unreachable(f"TLS certificate refused: {detail}")
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return Unreachable("TLS handshake failed: the target has no TLS, or no version that both sides accept")
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(_no_host(error.os_error))
        case UnicodeError():
            return Unreachable("no such host")
        case aiohttp.ClientPayloadError():
            return Unreachable("connection closed in the middle of the body")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return _unexpected(error)
        case aiohttp.ServerDisconnectedError():
            return Unreachable("connection closed before an answer")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Unreachable("not a usable URL")
        case aiohttp.ClientConnectorError():
            whose = "the proxy cannot be reached: " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
            return Unreachable(f"{whose}{_os_message(error.os_error)}")
        case socket.gaierror():
            return Unreachable(_no_host(error))
        case OSError():
            return Unreachable(_os_message(error))
        case _:
            return Unreachable(f"the connection failed ({type(error).__name__})")


def _unexpected(error: Exception) -> ScrapeError:
    if not isinstance(error, aiohttp.ClientHttpProxyError):
        return ExpositionError("the answer is not HTTP", 0)
    wants_user = error.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    return Unreachable(f"the proxy answered {error.status}{'; it wants a user and a password' if wants_user else ''}")


def _no_host(error: OSError) -> str:
    return "cannot resolve the host for now" if error.errno == socket.EAI_AGAIN else "no such host"


def _os_message(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED or isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if error.errno == errno.ECONNRESET or isinstance(error, ConnectionResetError):
        return "connection reset"
    return os.strerror(error.errno).lower() if error.errno else "the connection failed"
