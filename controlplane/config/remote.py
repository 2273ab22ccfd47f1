"""Other metrics servers in fleet.yaml: one that answers queries, and any number that receive samples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import HttpUrl, Interval, IssuedAccess, Model, Name, Text, has_user


def _server_url(value: str) -> str:
    if has_user(value):
        raise ValueError("credentials do not belong in the address; use basic_auth: or authorization:")
    return value


ServerUrl = Annotated[HttpUrl, AfterValidator(_server_url)]
"""Address without credentials, so that it may be shown. Credentials have their own fields."""


def _engine_url(value: str) -> str:
    if "?" in value or "#" in value:
        raise ValueError("expected an address without ? and #: the paths of requests are appended to it")
    return value


EngineUrl = Annotated[ServerUrl, AfterValidator(_engine_url)]
"""Address of a server of models, to which paths are appended."""


def query_address(value: str) -> str:
    """Return the address before `/api/v1/query`. Raises ValueError if it has a query, a fragment or `/api/v1`."""
    if "?" in value or "#" in value:
        raise ValueError("expected an address without ? and #")
    if re.search(r"/api/v1(/|$)", value):
        raise ValueError("leave out /api/v1 and what follows it: it is added")
    return value


_OWN = (
    "authorization host user-agent accept-encoding content-type content-encoding content-length transfer-encoding "
    "connection x-prometheus-remote-write-version"
)
OWN_HEADERS = frozenset(_OWN.split())
"""Headers that the control plane sets. Another value would break the request, or belongs in another field."""


def _header_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", value):
        raise ValueError("expected a header's name of letters, digits and '-', at most 100")
    return value


class RemoteAccess(IssuedAccess):
    """Access to another metrics server."""

    headers: dict[Annotated[str, AfterValidator(_header_name)], Text] = Field(default={})
    """Additional headers, such as X-Scope-OrgID, Mimir's tenant."""

    @check
    def _headers_are_free(self) -> Iterator[Fault]:
        for name in self.headers:
            if name.lower() in OWN_HEADERS:
                yield Fault(("headers", name), "is set by the control plane; credentials go into authorization:")


class Query(RemoteAccess):
    """Access to the server of `query_url`."""

    timeout: Interval = 30.0


class QueueConfig(Model):
    """Queue of samples for a server. Fields are named as in Prometheus."""

    max_shards: int = Field(default=4, ge=1, le=64)
    max_samples_per_send: int = Field(default=2000, ge=1, le=100_000)
    batch_send_deadline: Interval = 5.0
    min_backoff: Interval = 0.03
    max_backoff: Interval = 5.0
    sample_age_limit: Interval = 2 * 3600.0
    max_bytes: int = Field(default=2**30, ge=2**20)
    """Maximum size of the queue on disk."""

    @check
    def _backoff_grows(self) -> Iterator[Fault]:
        if self.min_backoff > self.max_backoff:
            sentence = f"{self.min_backoff:g}s is longer than max_backoff ({self.max_backoff:g}s)"
            yield Fault(("min_backoff",), sentence)


class RemoteWrite(RemoteAccess):
    """One server that receives samples."""

    url: ServerUrl
    name: Name | None = None
    send: Annotated[tuple[Literal["canonical", "own", "raw", "recorded"], ...], Field(min_length=1)] = (
        "canonical",
        "raw",
        "recorded",
    )
    remote_timeout: Interval = 30.0
    queue_config: QueueConfig = QueueConfig()


def endpoint_name(endpoint: RemoteWrite) -> str:
    """Return an endpoint's name in metrics, the log and the data folder: its `name`, or its address."""
    return endpoint.name or endpoint.url.partition("://")[2].rstrip("/")
