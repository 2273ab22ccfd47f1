"""Settings of a worker's listener and connections. Sizes in bytes, durations in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificate and key of the listener. The files are read again when they change."""

    cert_file: str
    key_file: str
    client_ca_file: str | None = None
    """Clients must then show a certificate of this authority."""


@dataclass(frozen=True, slots=True)
class WireSettings:
    """Bounds of what one worker keeps for its clients, and of how long it waits for them."""

    max_head_bytes: int = 32 * 2**10
    max_body_bytes: int = 64 * 2**20
    max_buffered_bytes: int = 512 * 2**20
    """Bodies of all requests together. A request that does not fit is refused and may be sent again."""
    max_connections: int = 10_000
    head_timeout_s: float = 10.0
    """Limit for a whole head, from its first byte."""
    body_timeout_s: float = 30.0
    """Longest pause within a request's body, and of a client that does not read its answer."""
    idle_timeout_s: float = 75.0
    """Between two requests of a connection."""
    keep_alive_event_s: float = 15.0
    """A stream without its first event gets its head and a comment after this time, and then as often."""
    tls: TlsFiles | None = None
