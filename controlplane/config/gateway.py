"""`gateway:` of fleet.yaml, and `gateway:` of a model: the fields of the process that clients' requests go through."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from controlplane.config import addresses
from controlplane.config.checking import Fault, check
from controlplane.config.names import engine_paths
from controlplane.config.remote import ServerUrl
from controlplane.config.vocabulary import Access, Address, Duration, FilePath, Interval, Model, ModelName, Name, Text
from controlplane.config.vocabulary import size_bytes as size

MOST = 2**53
"""Largest whole number of the desired state and of the workers' memory: all up to it are exact as float64."""
Size = Annotated[int, BeforeValidator(size), Field(gt=0, le=MOST)]
"""A size above zero, such as 64MB."""
Count = Annotated[int, Field(gt=0, le=MOST, strict=True)]
"""A whole number above zero."""


MAX_DEFAULT_WORKERS = 8
"""Largest number of workers by default. Chosen: on a large machine the engines' own processes need the other cores."""


class Limits(Model):
    """Fields of limits. Budgets count calendar days and months in UTC."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent: Count | None = None
    daily_tokens: Count | None = None
    monthly_tokens: Count | None = None
    daily_usd: float | None = Field(default=None, gt=0)
    monthly_usd: float | None = Field(default=None, gt=0)


class GatewayLimits(Limits):
    """Limits of a model."""


class TenantSection(Limits):
    """One tenant: all keys that carry its name."""

    weight: float = Field(default=1.0, gt=0, le=1000)
    """Its share in the queue, against other tenants."""


class ControlPlaneSection(Access):
    """The control plane that the gateway follows."""

    url: ServerUrl


class ListenerTls(Model):
    """TLS of the gateway's own address. The files are read again when they change."""

    cert_file: FilePath
    key_file: FilePath
    client_ca_file: FilePath | None = None
    """Clients must then show a certificate of this authority."""


class TracesSection(Access):
    """Export of OpenTelemetry spans, by OTLP over HTTP."""

    url: ServerUrl
    content: bool = False
    """Whether spans hold prompts and answers."""
    sample: float = Field(default=1.0, gt=0, le=1)
    """Share of the requests without a sampled parent that are exported."""


class GatewaySection(Model):
    """The gateway's process."""

    name: Name | None = None
    """Name in reports, records and metrics. Default: the first part of the host's name."""
    listen: Address = "127.0.0.1:8400"
    admin: Address = "127.0.0.1:8401"
    """Address of /metrics, /healthz and /readyz."""
    workers: int | None = Field(default=None, ge=1, le=60, strict=True)
    """Number of worker processes. Default: the number of cores, but at most 8."""
    beside: bool = False
    """Whether `controlplane up` starts a gateway beside itself."""
    control_plane: ControlPlaneSection | None = None
    """Default: the gateway serves what this file says, and nobody changes its weights."""
    authentication: Literal["keys", "none"] = "keys"
    tls: ListenerTls | None = None
    max_head_bytes: Size = 32 * 2**10
    max_body_bytes: Size = 64 * 2**20
    max_connections: Count = 10_000
    head_timeout: Interval = 10.0
    body_timeout: Interval = 30.0
    """Longest pause within a request's body, and of a client that does not read its answer."""
    idle_timeout: Interval = 75.0
    drain_timeout: Duration = 300.0
    max_journal_bytes: Size = 2**30
    traces: TracesSection | None = None
    tenants: dict[Name, TenantSection] = Field(default={})

    @property
    def runs_here(self) -> bool:
        """Whether the file describes a gateway on this machine, and not only tenants for gateways elsewhere."""
        return self.beside or bool({"listen", "admin"} & self.model_fields_set)

    @check
    def _addresses_differ(self) -> Iterator[Fault]:
        if addresses.overlap(self.listen, self.admin):
            same = "is the address" if self.listen == self.admin else f"is within the address ({self.listen})"
            yield Fault(("admin",), f"{self.admin} {same} of listen: too; choose another port")

    @check
    def _heads_have_a_usual_size(self) -> Iterator[Fault]:
        if not 1024 <= self.max_head_bytes <= 2**20:
            yield Fault(("max_head_bytes",), "expected 1KB to 1MB: common clients send heads of 1 to 16 KB")

    @property
    def effective_name(self) -> str:
        """Effective name."""
        return self.name or socket.gethostname().split(".")[0] or "gateway"

    @property
    def effective_workers(self) -> int:
        """Effective number of worker processes."""
        return self.workers or min(len(os.sched_getaffinity(0)), MAX_DEFAULT_WORKERS)


class PriceSection(Model):
    """Prices in US dollars a million tokens."""

    input_usd: float = Field(ge=0)
    output_usd: float = Field(ge=0)
    cached_usd: float | None = Field(default=None, ge=0)


class QueueSection(Model):
    """The queue of a model, for requests that no backend can take now."""

    max_waiting: int = Field(default=1000, ge=0, le=MOST, strict=True)
    max_wait: Duration = 30.0


class GatewayTimeouts(Model):
    """Deadlines of one exchange with an engine."""

    connect: Interval = 3.0
    first_event: Interval = 300.0
    idle: Interval = 120.0
    total: Interval | None = None


class HedgeSection(Model):
    """A second attempt on another backend when the first event is late."""

    quantile: float = Field(default=0.95, gt=0.5, lt=1)
    share: float = Field(default=0.02, gt=0, le=0.2)


class CacheSection(Model):
    """Exact-match cache of deterministic requests."""

    ttl: Interval = 60.0
    max_size: Size = 64 * 2**20


class MirrorSection(Model):
    """Copies of requests to another version, whose answers are thrown away."""

    version: Name
    share: float = Field(gt=0, le=1)


def _engine_path(value: str) -> str:
    """Return a path of an engine. Raises ValueError for one that does not pass through the gateway."""
    if why := engine_paths.fault(value):
        raise ValueError(why)
    return value


EnginePath = Annotated[Text, AfterValidator(_engine_path)]
"""A path of an engine's own that passes through the gateway: `/a/b`, or `/a/*` for all paths below `/a`."""


class ModelGateway(Model):
    """Settings of the gateway for one model."""

    aliases: tuple[ModelName, ...] = ()
    balance: Literal["least-outstanding", "two-choices", "prefix"] = "least-outstanding"
    fallbacks: tuple[Name, ...] = ()
    degrade_to: Name | None = None
    limits: GatewayLimits = GatewayLimits()
    price: PriceSection | None = None
    queue: QueueSection = QueueSection()
    timeouts: GatewayTimeouts = GatewayTimeouts()
    retries: int = Field(default=2, ge=0, le=10, strict=True)
    hedge: HedgeSection | None = None
    cache: CacheSection | None = None
    mirror: MirrorSection | None = None
    paths: tuple[EnginePath, ...] = ()
    """Paths of the model's engines that clients may ask by `x-model`, beside the known ones that only infer."""

    @check
    def _is_no_circle(self) -> Iterator[Fault]:
        if self.degrade_to is not None and self.degrade_to in self.fallbacks:
            yield Fault(("degrade_to",), f"{self.degrade_to} is in fallbacks too; name each model once")
