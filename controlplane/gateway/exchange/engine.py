"""The engine behind a backend: its pool of connections, and what is the same in the heads of all its requests."""

from __future__ import annotations

from urllib.parse import urlsplit

from controlplane.gateway.desired.document import BackendSpec, Desired
from controlplane.gateway.exchange.credentials import Credentials
from controlplane.gateway.request import Ask, RequestHead
from controlplane.gateway.wire.fields import NOT_TO_ENGINE, all_dropped, passed
from controlplane.gateway.wire.incoming import VARYING
from controlplane.gateway.wire.pool import Origin, Pool, Pools
from controlplane.gateway.wire.tls import Trust

_PLAIN = NOT_TO_ENGINE | {b"accept-encoding"}
"""Dropped where the answer's events are read: a compressed answer cannot be."""
_UNCODED = b"accept-encoding: identity\r\n"
"""Without the field an engine may choose any coding (RFC 9110, section 12.5.3)."""


class Engine:
    """The engine behind one backend."""

    __slots__ = ("_credentials", "_lines", "_path", "backend", "pool")

    def __init__(self, backend: BackendSpec, pool: Pool, credentials: Credentials) -> None:
        self.backend = backend
        self.pool = pool
        self._credentials = credentials
        parts = urlsplit(backend.url)
        self._path = parts.path.rstrip("/").encode()
        self._lines = b" HTTP/1.1\r\nhost: %b\r\n" % parts.netloc.rpartition("@")[2].encode()

    def request(
        self, ask: Ask, head: RequestHead, target: bytes, length: int, own: bytes, traced: bytes, now: float
    ) -> bytes | None:
        """Return the head of a request. None: the credentials cannot be read.

        `own` are the lines that the gateway adds (request id, the client's address). `traced`: its `traceparent`, b""
        to pass the client's.
        """
        lines = self._lines
        if (spec := self.backend.credentials) is not None:
            line = self._credentials.line(spec, now)
            if line is None:
                return None
            lines += line
        dropped = _PLAIN if ask.operation.generates else NOT_TO_ENGINE
        if ask.operation.generates:
            own += _UNCODED
        if traced:
            dropped = dropped | {b"traceparent"}
            own += b"traceparent: %b\r\n" % traced
        # A body without a length is chunked at the client's side only: here it is whole.
        sized = b"content-length: %d\r\n\r\n" % length if length or head.method not in (b"GET", b"HEAD") else b"\r\n"
        passing = _passing(head, dropped)
        return b"".join((head.method, b" ", self._path, target, lines, passing, own, sized))


def _passing(head: RequestHead, dropped: frozenset[bytes]) -> bytes:
    """Return the lines of the client's fields that pass."""
    facts = head.facts
    if facts is None or dropped is not _PLAIN:
        return b"".join(passed(head.fields, dropped, head.known.get(b"connection")))
    if facts.lines is None:
        dropped = all_dropped(dropped, head.known.get(b"connection"))
        facts.lines = b"".join(passed(head.fields, dropped | VARYING, None))
        names = VARYING - dropped
        facts.places = tuple(place for place, (name, _) in enumerate(head.fields) if name in names)
    lines = facts.lines
    for place in facts.places:
        lines += b"%b: %b\r\n" % head.fields[place]
    return lines


class Engines:
    """The engines behind all backends of the desired state."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._credentials = Credentials()
        self._engines: dict[int, Engine] = {}
        """By the identity of the specification: hashing one costs more than the whole lookup may."""

    def of(self, backend: BackendSpec) -> Engine:
        """Return the engine behind a backend."""
        engine = self._engines.get(id(backend))
        if engine is None or engine.backend is not backend:
            engine = Engine(backend, self._pools.of(_origin(backend)), self._credentials)
            self._engines[id(backend)] = engine
        return engine

    def apply(self, desired: Desired) -> None:
        """Forget the engines that the desired state does not name, and close their resting connections."""
        backends = [backend for model in desired.models for version in model.versions for backend in version.backends]
        self._engines = {}
        self._pools.keep({_origin(backend) for backend in backends})


def _origin(backend: BackendSpec) -> Origin:
    trust = Trust(
        backend.ca_file,
        backend.cert_file,
        backend.key_file,
        backend.server_name,
        insecure=backend.insecure_skip_verify,
    )
    return Origin.of(backend.url, trust)
