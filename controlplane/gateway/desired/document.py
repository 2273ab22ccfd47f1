"""The desired state as one document. The control plane makes it, gateways apply it and keep the last good one on disk.

It names secrets of engines by file or environment variable, on the gateway's machine, and holds keys only as digests.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.config.names import engine_paths

FORMAT = 1
WHOLE = 1000
"""Weights are thousandths of a model's requests."""


@dataclass(frozen=True, slots=True)
class CredentialsSpec:
    """Credentials of the gateway at an engine. One of `file` and `env` is set; both are read where the gateway runs."""

    scheme: str = "Bearer"
    file: str = ""
    env: str = ""
    username: str = ""
    """Set for basic authentication: the file holds the password."""


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """One engine that serves a version."""

    url: str
    """http(s)://host:port, and a path before the API's if the engine has one."""
    engine: str
    """Kind of the engine, of collectors.engines.kinds.BACKENDS."""
    served_model: str
    """The engine's name of the model."""
    path_version: str = ""
    """Triton: the version directory that is named in the URL. "": requests name no version."""
    credentials: CredentialsSpec | None = None
    ca_file: str = ""
    insecure_skip_verify: bool = False
    max_in_flight: int = 0
    """Most requests at once. 0: no limit of the gateway's."""
    adapters: tuple[str, ...] = ()
    """LoRA adapters that are loaded there."""
    draining: bool = False
    """It gets no new request."""
    metrics: str = ""
    """Address of its metrics. "": the default of its kind."""
    cert_file: str = ""
    """Certificate that is shown to the engine."""
    key_file: str = ""
    server_name: str = ""
    """Name that the engine's certificate is to have. "": the host of `url`."""


@dataclass(frozen=True, slots=True)
class VersionSpec:
    """One version of a model."""

    name: str
    weight: int
    """Thousandths of the model's requests, 0 to 1000. 0: only testers get it, by `x-version`."""
    backends: tuple[BackendSpec, ...]


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """Limits of a key, a tenant or a model. None: no limit. Budgets count calendar days and months in UTC."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    daily_tokens: int | None = None
    monthly_tokens: int | None = None
    daily_usd: float | None = None
    monthly_usd: float | None = None


@dataclass(frozen=True, slots=True)
class PriceSpec:
    """Prices in US dollars a million tokens, for budgets in money."""

    input_usd: float = 0.0
    output_usd: float = 0.0
    cached_usd: float | None = None
    """None: as `input_usd`."""


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """The queue of a model. Durations in seconds."""

    max_waiting: int = 1000
    max_wait_s: float = 30.0


@dataclass(frozen=True, slots=True)
class TimeoutSpec:
    """Deadlines of one exchange, in seconds. None: no deadline."""

    connect_s: float = 3.0
    first_event_s: float = 300.0
    """Limit until the first event of a stream, or the whole head of another answer."""
    idle_s: float = 120.0
    """Between two pieces of an answer."""
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class HedgeSpec:
    """A second attempt on another backend when the first event is late. Off unless given."""

    quantile: float = 0.95
    share: float = 0.02
    """Most hedged requests, of all."""


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """Exact-match cache of deterministic requests. Off unless given."""

    ttl_s: float = 60.0
    max_bytes: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class MirrorSpec:
    """Copies of requests to another version. Their answers are thrown away and counted apart."""

    version: str
    share: float
    """0 to 1."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model with its versions. `generation` rises with every change of its weights; 0: no driver moves them."""

    name: str
    generation: int
    versions: tuple[VersionSpec, ...]
    aliases: tuple[str, ...] = ()
    balance: str = "least-outstanding"
    """least-outstanding, two-choices, prefix."""
    fallbacks: tuple[str, ...] = ()
    """Models that answer when no backend of this one can, before the first byte."""
    degrade_to: str = ""
    """Smaller model that answers while this one is saturated."""
    limits: LimitSpec = LimitSpec()
    price: PriceSpec = PriceSpec()
    queue: QueueSpec = QueueSpec()
    timeouts: TimeoutSpec = TimeoutSpec()
    retries: int = 2
    hedge: HedgeSpec | None = None
    cache: CacheSpec | None = None
    mirror: MirrorSpec | None = None
    paths: tuple[str, ...] = ()
    """Paths of its engines that pass beside the known ones: `/a/b`, or `/a/*` for all paths below `/a`."""

    def passes(self, path: str) -> bool:
        """Return whether a path passes to the model's engines. "": the path needs no list."""
        return not path or engine_paths.is_listed(path, self.paths)


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One API key. `digest` is the hex SHA-256 of its secret."""

    id: str
    digest: str
    tenant: str
    role: str = "user"
    models: tuple[str, ...] | None = None
    expires_at: float | None = None
    """Unix seconds."""
    limits: LimitSpec = LimitSpec()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class TenantSpec:
    """One tenant: all keys that carry its name."""

    name: str
    limits: LimitSpec = LimitSpec()
    weight: float = 1.0
    """Its share in the queue against other tenants."""


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that a gateway applies. `revision` differs whenever anything differs."""

    revision: str
    models: tuple[ModelSpec, ...] = ()
    keys: tuple[KeySpec, ...] = ()
    tenants: tuple[TenantSpec, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)
    """This gateway's share, 0 to 1, of each limit, by the limit's id (`key/ID`, `tenant/NAME`, `model/NAME`), where
    several gateways share it. A limit that is not named is wholly this gateway's."""
    authentication: bool = True
    """Whether requests need a key."""
