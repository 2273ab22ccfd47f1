"""The shape of fleet.yaml: frozen, unknown fields refused. The loader adds file and line to errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from controlplane.config.remote import Query, RemoteWrite, ServerUrl, endpoint_name, query_address
from controlplane.config.vocabulary import (
    Access,
    Address,
    Duration,
    HttpUrl,
    Interval,
    LabelName,
    Model,
    Name,
    size_bytes,
)


class FleetSection(Model):
    """Names the fleet."""

    name: Name
    external_url: HttpUrl | None = None
    """Where people reach the console: what links in messages point to, and a name that the server answers to."""


class ScrapeSection(Model):
    """How targets are read, and the limits that keep one target from harming the others."""

    interval: Interval = 15.0
    timeout: Interval | None = None
    """By default 10s, or the interval where that is shorter."""
    max_body_bytes: int = Field(default=16 * 2**20, gt=0)
    max_samples: int = Field(default=100_000, gt=0)

    @model_validator(mode="after")
    def _timeout_fits(self) -> ScrapeSection:
        if self.timeout is not None and self.timeout > self.interval:
            raise ValueError(f"timeout ({self.timeout:g}s) is longer than interval ({self.interval:g}s)")
        return self

    @property
    def timeout_s(self) -> float:
        """The timeout in force, in seconds."""
        return min(10.0, self.interval) if self.timeout is None else self.timeout


Engine = Literal["triton", "vllm", "sglang", "trtllm", "tgi", "lmdeploy", "llamacpp", "dcgm", "nvml", "probe", "custom"]
METRICS_PATHS = {"trtllm": "/prometheus/metrics"}
"""Where metrics are not at /metrics. trtllm-serve's /metrics is another thing: reading it empties a queue."""


class TargetGroup(Access):
    """Targets of one engine kind that share labels and credentials."""

    engine: Engine
    addresses: tuple[Address, ...] = ()
    file_sd: tuple[str, ...] = ()
    urls: tuple[HttpUrl, ...] = ()
    labels: dict[LabelName, str] = Field(default={})
    path: str | None = None
    """By default /metrics; for trtllm /prometheus/metrics."""
    scheme: Literal["http", "https"] = "http"
    interval: Interval | None = None
    timeout: Interval | None = None
    prompt: str = "ping"
    """probe only: what to ask."""
    protocol: Literal["openai", "triton"] | None = None
    """probe only: by default taken from the URL's path."""
    model_name: str | None = None
    """probe only: the model to ask for; by default the `model` label."""

    @model_validator(mode="after")
    def _has_where(self) -> TargetGroup:
        if self.engine == "probe" and not self.urls:
            raise ValueError("engine probe needs urls: [...]")
        if self.engine not in ("probe", "nvml") and not (self.addresses or self.file_sd):
            raise ValueError(f"engine {self.engine} needs addresses: [host:port] or file_sd: [files]")
        if self.engine != "probe" and self.urls:
            raise ValueError("urls: is for engine probe; use addresses: [host:port]")
        return self

    @property
    def metrics_path(self) -> str:
        """The path in force."""
        return self.path or METRICS_PATHS.get(self.engine, "/metrics")


class NotifierSection(Model):
    """Where notifications go."""

    name: Name
    type: Literal["slack", "log"]
    channel: str | None = None
    token_env: str | None = None
    token_file: Path | None = None
    base_url: HttpUrl | None = None
    """slack only: another Web API address (a proxy, a test server)."""

    @model_validator(mode="after")
    def _complete(self) -> NotifierSection:
        if self.type == "slack" and (not self.channel or not (self.token_env or self.token_file)):
            raise ValueError("type slack needs channel: and one of token_env:, token_file:")
        return self


class Route(Model):
    """Alertmanager's route, one level (matchers and child routes come with the alerting issue)."""

    receiver: str
    group_by: tuple[str, ...] = ("model", "alertname")
    group_wait: Duration = 10.0
    group_interval: Duration = 60.0
    repeat_interval: Duration = 4 * 3600.0


class Threshold(Model):
    """Overrides a variable of a built-in rule pack."""

    value: float | str | None = None
    for_: Duration | None = Field(default=None, alias="for")
    window: Duration | None = None


class Backend(Access):
    """One place that serves a version."""

    url: HttpUrl
    metrics: HttpUrl | None = None
    engine: Literal["triton", "vllm"] | None = None
    repository: Path | None = None
    """triton only: the model repository, when it is local: configuration is then persisted to its config.pbtxt."""
    grpc: Address | None = None
    """triton only: where load orders go. Over HTTP a load holds up clients' connections until the model is loaded."""
    gpus: float = Field(default=1.0, ge=0)
    """GPUs this backend occupies: what the cost ledger counts."""
    labels: dict[LabelName, str] = Field(default={})

    @model_validator(mode="after")
    def _grpc_is_plain(self) -> Backend:
        if self.grpc and (self.authorization or self.basic_auth or self.tls):
            raise ValueError("grpc: load orders go in plain text and without credentials; leave it out here")
        return self


class Traffic(Model):
    """How a model's traffic is moved."""

    driver: Literal["triton", "none"]
    model: str | None = None
    """What the engine calls the model; by default the fleet's name."""
    backends: tuple[Backend, ...] = ()
    drain_timeout: Duration = 300.0
    load_timeout: Duration = 600.0


class Version(Model):
    """A release of a model. On Triton `v2` is version directory 2 and needs nothing more."""

    backends: tuple[Backend, ...] = ()


class ModelSection(Model):
    """What clients ask for by name."""

    name: Name
    stable: str
    traffic: Traffic
    versions: dict[Name, Version]

    @model_validator(mode="after")
    def _consistent(self) -> ModelSection:
        if self.stable not in self.versions:
            raise ValueError(f"stable: {self.stable} is not one of versions: {', '.join(self.versions)}")
        if self.traffic.driver == "triton":
            if not self.traffic.backends:
                raise ValueError("traffic driver triton needs backends: [{url: ...}]")
            bad = [v for v in self.versions if not re.fullmatch(r"v[1-9]\d*", v)]
            if bad:
                raise ValueError(f"on triton a version is vN for version directory N, got {', '.join(bad)}")
        return self


class Budget(Model):
    """What a model may cost a month."""

    model: str
    monthly_usd: float = Field(gt=0)


class Cost(Model):
    """Prices and budgets. The ledger counts GPU hours of a model's backends while they are up."""

    gpu_hour_usd: float = Field(ge=0)
    budgets: tuple[Budget, ...] = ()


class Receive(Model):
    """What remote writers may send: limits of one request, and of all that they keep up."""

    max_body_bytes: int = Field(default=16 * 2**20, ge=1024)
    max_decoded_bytes: int = Field(default=32 * 2**20, ge=1024)
    max_series: int = Field(default=50_000, ge=1)
    max_samples: int = Field(default=200_000, ge=1)
    max_written_series: int = Field(default=200_000, ge=1)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class Metrics(Model):
    """The embedded series store, and the servers beside it."""

    retention: Annotated[Duration, Field(ge=60)] = 24 * 3600.0
    retention_recorded: Annotated[Duration, Field(ge=60)] = 35 * 86400.0
    receive: Receive = Receive()
    retention_size: Annotated[int, BeforeValidator(size_bytes), Field(ge=0)] = 0
    """What the samples may take on disk, in all; the oldest go first. 0: as much as the retention needs."""
    max_series: int = Field(default=1_000_000, gt=0, strict=True)
    max_series_per_target: int = Field(default=50_000, gt=0, strict=True)
    """Series beyond a limit are refused and counted; those that exist go on."""
    query_workers: int | None = Field(default=None, ge=1, le=16, strict=True)
    """Processes that answer queries of the HTTP API, at most; by default as many as cores, from 2 to 4."""
    query_url: Annotated[ServerUrl, AfterValidator(query_address)] | None = None
    """A Prometheus-compatible server that answers every query instead."""
    query: Query = Query()
    remote_write: Annotated[tuple[RemoteWrite, ...], BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _endpoints_differ(self) -> Metrics:
        if self.query_url is None and self.query != Query():
            raise ValueError("query: is for query_url:, which is not given")
        names = [endpoint_name(endpoint) for endpoint in self.remote_write]
        if again := next((name for i, name in enumerate(names) if name in names[:i]), None):
            raise ValueError(f"remote_write: two endpoints are called {again}; give each a name:")
        return self


LOG = "log"
"""The notifier that is always there."""


class Fleet(Model):
    """fleet.yaml as a whole."""

    fleet: FleetSection
    scrape: ScrapeSection = ScrapeSection()
    targets: tuple[TargetGroup, ...] = ()
    rules: tuple[str, ...] = ("builtin:llm", "builtin:gpu")
    evaluation_interval: Annotated[Duration, Field(ge=1)] = 15.0
    thresholds: dict[str, Threshold] = Field(default={})
    notifiers: tuple[NotifierSection, ...] = ()
    route: Route | None = None
    models: tuple[ModelSection, ...] = ()
    cost: Cost | None = None
    metrics: Metrics = Metrics()
    database: str | None = None

    @model_validator(mode="after")
    def _references(self) -> Fleet:
        names = [m.name for m in self.models]
        if twice := {n for n in names if names.count(n) > 1}:
            raise ValueError(f"models: {', '.join(sorted(twice))} is declared twice")
        notifiers = [n.name for n in self.notifiers]
        if again := next((i for i, name in enumerate(notifiers) if name in notifiers[:i]), None):
            raise ValueError(f"notifiers[{again}].name: {notifiers[again]!r} is taken by another notifier")
        known = sorted({*notifiers, LOG})
        if self.route and self.route.receiver not in known:
            raise ValueError(f"route.receiver: {self.route.receiver!r} is not one of notifiers: {', '.join(known)}")
        for number, group in enumerate(self.targets):
            interval = group.interval or self.scrape.interval
            if group.timeout and group.timeout > interval:
                raise ValueError(
                    f"targets[{number}].timeout: {group.timeout:g}s is longer than the interval ({interval:g}s)"
                )
        if self.cost:
            for budget in self.cost.budgets:
                if budget.model not in names:
                    raise ValueError(f"cost.budgets: model {budget.model!r} is not one of models: {sorted(names)}")
        return self
