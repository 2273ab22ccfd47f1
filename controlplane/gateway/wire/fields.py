"""Header fields that a proxy passes on, changes or drops, and the encoding of heads."""

from __future__ import annotations

from http import HTTPStatus

from controlplane.gateway.request import Fields

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Fields of one connection (RFC 9110 §7.6.1), which a proxy does not pass on. `Connection` may name more."""

NOT_TO_ENGINE = HOP_BY_HOP | frozenset(
    (
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"host",
        b"content-length",
        b"expect",
        b"http2-settings",
        b"x-request-id",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
    )
)
"""Fields of a request that the gateway drops or sets itself. The client's key is for the gateway and not for engines;
addresses that a client claims are not believed."""

NOT_TO_CLIENT = HOP_BY_HOP | frozenset(
    (
        b"content-length",
        b"x-request-id",
        b"www-authenticate",
        b"authentication-info",
        b"x-accel-buffering",
        b"x-model-version",
        b"x-degraded-from",
        b"x-fallback-from",
        b"x-cache",
        *(
            b"x-ratelimit-%b-%b" % (what, of)
            for what in (b"limit", b"remaining", b"reset")
            for of in (b"requests", b"tokens")
        ),
    )
)
"""Fields of an answer that the gateway drops or sets itself. What it says of an answer, no engine says in its place. An
engine's own limits are not the caller's, and the key that it wants is the gateway's."""

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}


def status_line(status: int) -> bytes:
    """Return the first line of an answer."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def named_by_connection(value: bytes) -> frozenset[bytes]:
    """Return the lower-case names in a Connection field, which are hop-by-hop too."""
    return frozenset(name.strip() for name in value.lower().split(b","))


def all_dropped(dropped: frozenset[bytes], connection: bytes | None) -> frozenset[bytes]:
    """Return the names that do not pass, with those that the Connection field names, if there is one."""
    # `close` and `keep-alive` are the whole value nearly always, and name no field that is not dropped anyway.
    if connection and (named := named_by_connection(connection) - {b"close", b"keep-alive"} - dropped):
        return dropped | named
    return dropped


def passed(fields: Fields, dropped: frozenset[bytes], connection: bytes | None) -> list[bytes]:
    """Return the lines of the fields that pass. `connection` is the value of the Connection field, if there is one."""
    names = all_dropped(dropped, connection)
    return [b"%b: %b\r\n" % field for field in fields if field[0] not in names]


def encoded(fields: Fields) -> bytes:
    """Return the lines of fields that the gateway made itself."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])
