"""Common parts of all issuers of short credentials: their places, the files with proofs, and ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address

from yarl import URL

from collectors.clouds.credential_text import fits
from collectors.clouds.json_api import JsonApi
from collectors.errors import ExpositionError, ScrapeError
from collectors.http.fetch import address_of
from collectors.regular_file import read_regular
from collectors.target import Auth

ISSUER_S = 5.0
"""Seconds for one request to an issuer on this host or beside it (chosen: one answers in milliseconds)."""
MAX_BYTES = 1 << 16
"""Size of a credential, as an answer or as a file."""
UNIQUE_LOCAL = ip_address("fd00:ec2::23")
"""Address of EKS Pod Identity over IPv6."""


def issuer_api(auth: Auth | None = None, request_s: float = ISSUER_S) -> JsonApi:
    """Return the connection to an issuer. `auth` gives the TLS settings."""
    return JsonApi(auth, MAX_BYTES, request_s)


def in_environment(name: str, who: str) -> str:
    """Return a variable that somebody sets for the pods or programs of an identity. Raises ScrapeError."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise ScrapeError(f"{name} is not set in the environment; {who}")
    if not fits(value):
        raise ScrapeError(f"the environment variable {name} holds a character that does not belong there")
    return value


def proof_in(file: str) -> str:
    """Return the token in a file, which others renew. Blocking. Raises ScrapeError without its content."""
    try:
        text = read_regular(file, MAX_BYTES).decode().strip()
    except OSError as error:
        raise ScrapeError(f"cannot read the token file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScrapeError(f"the token file {file} is not text") from None
    if not text:
        raise ScrapeError(f"the token file {file} is empty; whoever renews it has to write a token")
    if not fits(text):
        raise ScrapeError(f"the token file {file} holds a line break or another character that no token has")
    return text


def near(text: str, name: str) -> URL:
    """Return the address of an issuer. Without TLS it must be on this host or on its own link.

    `name` is the variable that gives it. Raises ScrapeError.
    """
    url, _ = address_of(text)
    if url.scheme != "https" and not _is_near(url.host or ""):
        raise ScrapeError(f"{name} names {url.host} without TLS; only this host and its own link may go without")
    return url


def safe(text: str, what: str) -> URL:
    """Return an address that gets a secret: with TLS, or on this host. Raises ScrapeError."""
    url, _ = address_of(text)
    if url.scheme != "https" and not _is_loopback(url.host or ""):
        raise ScrapeError(f"{what} names {url.host} without TLS; it has to begin with https://")
    return url


def ends_at(text: object, what: str) -> float:
    """Return the unix seconds of a time such as `2026-11-28T10:00:00Z`. Raises ExpositionError."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        raise ExpositionError(f"{what}: the end of the credential is no time", 0) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _is_near(host: str) -> bool:
    return _is_loopback(host) or _address(host, lambda ip: ip.is_link_local or ip == UNIQUE_LOCAL)


def _is_loopback(host: str) -> bool:
    return host == "localhost" or _address(host, lambda ip: ip.is_loopback)


def _address(host: str, good: Callable[..., bool]) -> bool:
    try:
        return good(ip_address(host))
    except ValueError:
        return False
