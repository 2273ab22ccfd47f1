"""The CLI's view of the control plane: HTTP, and nothing of the server's code.

Python's own HTTP client: the libraries that the server uses take longer to import than a request takes to be answered.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urljoin, urlsplit

from controlplane.cli.errors import CliError, ServerUnreachable, VerdictNegative, WrongUsage
from controlplane.cli.render import say, tell
from controlplane.cli.verbs.grammar import hint
from controlplane.config.context import Context, Contexts, contexts_path, origin, read_contexts
from controlplane.errors import ConfigError

TIMEOUT_S = 30.0
ATTEMPTS = 3
"""Tries of a request whose connection fails. A POST is repeated with the same Idempotency-Key, so it acts once."""
MAX_ANSWER_BYTES = 256 * 2**20
"""Largest accepted answer, in bytes. The control plane bounds its queries, so none of its answers is longer."""


class Place(NamedTuple):
    """The address and token of one control plane, and the context that has this address."""

    url: str
    token: str
    context: str = ""
    """Name of the context; empty: no context has this address."""
    demo: str = ""
    """The state file of the demo that wrote the context."""

    def __repr__(self) -> str:
        return f"Place({self.url!r}, context={self.context!r})"


class ApiAnswer(NamedTuple):
    """An HTTP response. Its body is not parsed yet."""

    status: int
    reason: str
    location: str
    body: bytes


class ApiClient:
    """Speaks JSON with one control plane. Use as a context manager."""

    def __init__(self, place: Place, timeout_s: float = TIMEOUT_S, attempts: int = ATTEMPTS) -> None:
        token = place.token.strip()
        if token and not all("!" <= c <= "~" for c in token):
            # The HTTP library quotes a bad header in its error: the secret would end up in a log.
            raise WrongUsage("the token holds a blank, a line break or another character that no token has")
        self.place, self.url = place, place.url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        if origin(place.url) is None or not place.url.isascii() or not place.url.isprintable() or " " in place.url:
            raise WrongUsage(
                f"{place.url!r} is not an address of a control plane: expected one such as http://127.0.0.1:8080"
            )
        if "@" in urlsplit(place.url).netloc:
            raise WrongUsage("remove the credentials from the address: a context or CP_TOKEN holds the token")
        self._timeout_s, self._attempts = timeout_s, attempts
        self._open: http.client.HTTPConnection | None = None

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def get(self, path: str, **query: str | int | float | list[str] | None) -> Any:
        """Return the JSON of a GET. Raises CliError."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._request("GET", path + ("?" + urlencode(given, doseq=True) if given else ""))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of a POST that carries an idempotency key. Raises CliError."""
        key = os.urandom(16).hex()
        return self._request("POST", path, json.dumps(dict(body or {})).encode(), {"Idempotency-Key": key})

    def delete(self, path: str) -> Any:
        """Return the JSON of a DELETE, or None. Raises CliError."""
        return self._request("DELETE", path)

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        for attempt in range(1, self._attempts + 1):
            try:
                return _body(self._once(method, path, body, headers or {}), self.url)
            except (OSError, http.client.HTTPException) as error:
                self._close()
                if attempt == self._attempts:
                    raise ServerUnreachable(
                        f"could not reach the control plane at {self.url}: {_why(error)}", (self._cure(),)
                    ) from error
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> ApiAnswer:
        connection = self._open = self._open or connection_to(self.url, self._timeout_s)
        sent = {"Accept": "application/json", **self._headers, **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        connection.request(method, request_target(connection, self.url, path), body, sent)
        response = connection.getresponse()
        content = response.read(MAX_ANSWER_BYTES + 1)
        if len(content) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
        return ApiAnswer(response.status, response.reason, response.getheader("Location", ""), content)

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _cure(self) -> str:
        if self.place.demo and not Path(self.place.demo).exists():
            cure = "`controlplane config get-contexts` lists the others"
            return f"context {self.place.context!r} belongs to a demo that has ended; {cure}"
        return "is it running? Start one with `controlplane up -c fleet.yaml` or `controlplane demo`"


def connection_to(url: str, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection for an address, through the proxy that the environment names for it, if any."""
    found = origin(url)
    assert found is not None
    scheme, host, port = found
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    proxy = _proxy(scheme, f"{host}:{port}")
    if not proxy:
        return kind(host, port, timeout=timeout_s)
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    connection = kind(parts.hostname or "", parts.port or 80, timeout=timeout_s)
    if scheme == "https":
        user = f"{parts.username}:{parts.password or ''}" if parts.username else ""
        connection.set_tunnel(host, port, _proxy_headers(user))
    return connection


def _proxy(scheme: str, host: str) -> str:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    import urllib.request  # rarely needed, and slow to import

    return "" if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme, "")


def _proxy_headers(user: str) -> dict[str, str]:
    return {"Proxy-Authorization": "Basic " + base64.b64encode(user.encode()).decode()} if user else {}


def request_target(connection: http.client.HTTPConnection, url: str, path: str) -> str:
    """Return the target of a request line: a path, or the whole URL when an HTTP proxy reads the request."""
    parts = urlsplit(url)
    target = parts.path.rstrip("/") + path
    proxied = parts.scheme == "http" and connection.host != parts.hostname
    return f"http://{parts.netloc.rpartition('@')[2]}{target}" if proxied else target


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if type(error).__name__ == "SSLCertVerificationError":
        return f"its certificate is not trusted here ({error}); SSL_CERT_FILE names a file of authorities to trust"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(error, http.client.HTTPException):
        return f"the server there does not speak HTTP as a control plane does: {type(error).__name__} {error}"
    return str(getattr(error, "strerror", "") or str(error) or type(error).__name__)


def _body(answer: ApiAnswer, url: str) -> Any:
    if 300 <= answer.status < 400:
        # A redirect is not followed: the token would be sent to whatever host the answer names.
        where = urljoin(url, answer.location)
        raise WrongUsage(
            f"{url} redirects to {where}; nothing was sent there",
            (f"use that address: --url {where}, or `controlplane login --url {where}`",),
        )
    if 200 <= answer.status < 300:
        try:
            return json.loads(answer.body) if answer.body else None
        except ValueError:
            raise WrongUsage(f"{url} is no control plane: its answer is not JSON") from None
    try:
        problem = json.loads(answer.body)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    # Prometheus's API has the message in `error`, the other routes in `detail`.
    message = str(problem.get("detail") or problem.get("error") or f"{answer.status} {answer.reason}")
    reasons = tuple(str(r) for r in problem.get("reasons", []))
    if message == "; ".join(reasons):  # the reasons are printed one a line: do not repeat them in the message
        message, reasons = (reasons[0], ()) if len(reasons) == 1 else (problem.get("title") or "refused", reasons)
    match answer.status:
        case 401:
            cure = f"`controlplane login --url {url}` asks for one and keeps it; in scripts set CP_TOKEN"
            raise VerdictNegative(f"the control plane at {url} does not accept this token: {message}", (cure,))
        case 400 | 404 | 405 | 413 | 422:
            raise WrongUsage(message, reasons)
        case 502 | 503 | 504:
            raise ServerUnreachable(message, reasons)
        case _:
            raise VerdictNegative(message, reasons)


def quoted(name: str) -> str:
    """Return a name as one part of a path."""
    return quote(name, safe="")


def locate(url: str | None, context: str | None, environment: Mapping[str, str] = os.environ) -> Place:
    """Return the control plane to use: `--url` or `--context`, else CP_URL, else CP_CONTEXT, else the current context.

    A context's token is sent only to that context's own origin. CP_TOKEN is not sent to the address of `--context`.
    Raises WrongUsage when no control plane is named, or an unknown context.
    """
    if url and context:
        raise WrongUsage("--url and --context both name a control plane: give one of them")
    try:
        known = read_contexts(contexts_path(environment))
    except ConfigError as error:
        raise WrongUsage(str(error)) from error
    token = environment.get("CP_TOKEN", "")
    if context:
        return _named(known, context, "--context")
    address = url or environment.get("CP_URL", "")
    if address:
        name, entry = _of_origin(known, address)
        if token or entry is None:
            return Place(address, token, name)
        return Place(address, entry.token, name, entry.demo)
    name = environment.get("CP_CONTEXT", "")
    if not name and known.active is None:
        raise WrongUsage(
            "no control plane is named: there is no --url, no CP_URL and no current context",
            (
                "`controlplane login --url URL` remembers yours; `make demo` starts one to try",
                *([f"known contexts: {', '.join(known.contexts)}"] if known.contexts else []),
            ),
        )
    found = _named(known, name or known.current, "CP_CONTEXT" if name else "the current context")
    return found._replace(token=token) if token else found


def _named(known: Contexts, name: str, by: str) -> Place:
    entry = known.contexts.get(name)
    if entry is None:
        there = ", ".join(known.contexts) or "none"
        message = f"{by} {name}: there is no such context{hint(name, known.contexts)}"
        raise WrongUsage(message, (f"known contexts: {there}",))
    return Place(entry.url, entry.token, name, entry.demo)


def _of_origin(known: Contexts, address: str) -> tuple[str, Context | None]:
    """Return the name and entry of a context with the scheme, host and port of an address, the current context first.

    Without such a context, return ("", None).
    """
    wanted = origin(address)
    if wanted is not None:
        for name in (known.current, *known.contexts):
            entry = known.contexts.get(name)
            if entry is not None and origin(entry.url) == wanted:
                return name, entry
    return "", None


def connect(url: str | None, context: str | None, environment: Mapping[str, str] = os.environ) -> ApiClient:
    """Return a client for the control plane that `locate` finds. Raises WrongUsage.

    Prints a note on stderr when no token is sent, and why.
    """
    place = locate(url, context, environment)
    client = ApiClient(place)
    if not place.token:
        cause = f"context {place.context!r} has none" if place.context else "no context has this address"
        tell(
            "",
            f"no token is sent to {place.url}: {cause} and CP_TOKEN is not set; "
            f"`controlplane login --url {place.url}` asks for one and keeps it",
            sys.stderr,
        )
    return client


def place_name(place: Place) -> str:
    """Return a control plane's address and context, for a person."""
    return f"{place.url} (context {place.context})" if place.context else place.url


def announce(client: ApiClient) -> None:
    """Print the fleet that is about to be changed and its address on stderr. Raises CliError."""
    fleet = client.get("/cp/v1/version").get("fleet") or "?"
    say(f"fleet {fleet} at {place_name(client.place)}", sys.stderr)


__all__ = ["ApiClient", "CliError", "Place", "announce", "connect", "locate", "place_name", "quoted"]
