"""A target: one scraped endpoint, its identity and its health."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

from collectors.engines.kinds import AUTO
from collectors.relabel import RelabelRule
from collectors.samples import Labels


@dataclass(frozen=True)
class Proxy:
    """HTTP proxy of a client's requests."""

    url: str = field(default="", repr=False)
    """Address, which may hold a user and a password."""
    no_proxy: str = ""
    """List of hosts that are asked without it, separated by commas."""
    from_environment: bool = False
    """Whether http_proxy, https_proxy and no_proxy of the environment say it instead."""


class Issuer(Protocol):
    """Gives credentials for a time. Hashable and comparable by its settings, as Auth is."""

    @property
    def place(self) -> str:
        """Host that is asked, for messages."""
        ...

    @property
    def secret(self) -> Auth:
        """Secret that is shown to the issuer, and the TLS settings towards it."""
        ...

    async def authorization(self) -> str:
        """Return the value of the Authorization header. Raises ScrapeError, without a secret."""
        ...

    async def instead_of(self, refused: str) -> str | None:
        """Return another value of the Authorization header than the one that a server refused; None: there is none."""
        ...


@dataclass(frozen=True)
class Auth:
    """Credentials, TLS settings and proxy of a client. Secrets are read at each use: rotation needs no restart."""

    scheme: str = "Bearer"
    credentials_file: str | None = None
    credentials_env: str | None = None
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    ca: str = ""
    """Certificates of authorities in PEM instead of `ca_file`, where an object of a cluster has them."""
    insecure_skip_verify: bool = False
    cert_file: str | None = None
    """Certificate that is shown to the server, with its chain, PEM."""
    key_file: str | None = None
    """Its private key, PEM."""
    cert: str = ""
    """The certificate itself instead of `cert_file`."""
    key: str = field(default="", repr=False)
    """The private key itself instead of `key_file`."""
    server_name: str = ""
    """Name that the server's certificate is to have. "": the host of the URL."""
    inline: str = field(default="", repr=False)
    """The credentials, or with `username` the password, where a user's file has them instead of naming a file."""
    proxy: Proxy | None = None

    @property
    def issuer(self) -> Issuer | None:
        """Issuer of the credentials, in place of those above. None: the Auth itself names them, and can be stored."""
        return None

    def without_credentials(self) -> Auth:
        """Return the TLS settings and the proxy alone."""
        return Auth(
            proxy=self.proxy,
            ca_file=self.ca_file,
            ca=self.ca,
            insecure_skip_verify=self.insecure_skip_verify,
            cert_file=self.cert_file,
            key_file=self.key_file,
            cert=self.cert,
            key=self.key,
            server_name=self.server_name,
        )


@dataclass(frozen=True)
class IssuedAuth(Auth):
    """Credentials that an issuer gives."""

    oauth2: Issuer | None = None

    @property
    def issuer(self) -> Issuer | None:
        """Issuer of the credentials."""
        return self.oauth2


def auth_with(fields: Mapping[str, Any]) -> Auth | None:
    """Return the Auth with some fields, an IssuedAuth where `oauth2` is one; None without any."""
    if not fields:
        return None
    return IssuedAuth(**fields) if "oauth2" in fields else Auth(**fields)


@dataclass(frozen=True)
class Target:
    """One scraped endpoint. Hashable and comparable: discovery compares sets of targets.

    `url` is absolute (`http://10.0.0.5:8002/metrics`), or `local:nvml` for this host's GPUs. `labels` are the labels
    of the configuration, stored on every raw and canonical series (`job` and `instance` included once resolved).
    `models` maps the engine's name of a model to fleet.yaml's.
    """

    engine: str
    url: str
    job: str
    instance: str
    labels: Labels = ()
    models: Labels = ()
    interval_s: float = 15.0
    timeout_s: float = 10.0
    auth: Auth | None = None
    metric_relabel: tuple[RelabelRule, ...] = ()
    """Rules for the labels of each sample."""
    discovered: Labels = ()
    """Labels before the group's rules; empty where nobody keeps them."""
    honor_labels: bool = False
    """Whether labels of a sample take precedence over those of the target."""
    sample_limit: int = 0
    """Largest number of samples that the rules may leave of a scrape; 0: any number."""

    @property
    def key(self) -> str:
        """Source name of its samples, unique within a fleet."""
        return f"{self.job}/{self.instance}/{self.url}"


class Lack(NamedTuple):
    """Metrics that the catalogue expects of an engine and a layout lacks."""

    metrics: tuple[str, ...] = ()
    """Canonical metrics."""
    instead: str = ""
    """One sentence about what the target exposes, if it lacks all of them, and what to check."""
    expected: tuple[str, ...] = ()
    """Canonical metrics that a default installation of the engine exposes."""


class Recognition(NamedTuple):
    """The kind of engine of a target whose engine is `auto`, by its metrics."""

    engine: str = AUTO
    """A kind of engine; `custom`: of no engine; `auto`: not known yet."""
    remark: str = ""
    """One sentence about what does not speak for itself, and the cure. "": nothing."""


@dataclass(frozen=True)
class TargetHealth:
    """Result of a target's last scrape. `health` is `unknown` before the first one."""

    target: Target
    health: str = "unknown"
    """up, down or unknown."""
    last_error: str = ""
    last_error_reason: str = ""
    remark: str = ""
    """The source's own words about readings that succeeded, such as a probe's question that does not fit."""
    last_scrape_at: float | None = None
    """Unix seconds."""
    last_good_at: float | None = None
    """Unix seconds of the last scrape that succeeded; None: none did."""
    duration_s: float | None = None
    samples: int | None = None
    """Samples stored: those of the body that relabelling left."""
    missing: tuple[str, ...] = field(default=())
    """Canonical metrics that the catalogue expects of this engine and the last scrape lacked."""
    instead: str = ""
    """One sentence about what it exposes, if it lacks all of them, and what to check. "": it is down, or has some."""
    unknown_labels: tuple[str, ...] = ()
    """Canonical metrics whose series are kept apart by labels that the catalogue does not know: `metric: label, …`."""
    unstorable: int = 0
    """Samples of the last scrape left out because their names or labels hold a NUL, which no database stores."""
    duplicates: int = 0
    """Samples of the last scrape left out because their series repeat, as exposed or after relabelling."""
    since: float | None = None
    """Unix seconds of the first scrape with the current `health` and `missing`."""
    known_since: float | None = field(default=None, compare=False)
    """Unix seconds at which that scrape's row was stored. An earlier query could not see it."""
    recovered: bool = False
    """Whether the target, before `since`, was down, had no samples, or had fewer of the expected metrics."""
    recognised: str = ""
    """Kind of engine by its metrics, of a target whose engine is `auto`. "": unknown, or configured."""

    @property
    def engine(self) -> str:
        """Kind of engine: the configured one or, for `auto`, the recognised one; `auto` as long as it is unknown."""
        return self.recognised or self.target.engine

    def moved_by(self, by_s: float) -> TargetHealth:
        """Return the health with its times moved by `by_s`, as the clock was. Its durations stay the same."""
        moved = {
            name: at + by_s
            for name in ("last_scrape_at", "last_good_at", "since", "known_since")
            if (at := getattr(self, name)) is not None
        }
        return replace(self, **moved)


class Source(Protocol):
    """Reads one target's exposition text. One deadline bounds the whole read."""

    async def read(self, timeout_s: float) -> bytes:
        """Return a body in the text exposition format (at most the configured size).

        Raises ScrapeError when the read fails. Ends at `timeout_s`, apart from scheduling delays.
        """
        ...

    async def close(self) -> None:
        """Release connections and children."""
        ...


@runtime_checkable
class Remarking(Protocol):
    """A source that has something to say to people beside its metrics."""

    @property
    def remark(self) -> str:
        """One sentence without a secret, or ""."""
        ...


class SourceRecipe(Protocol):
    """The settings from which a target's source is made. Equal recipes make equal sources."""

    def made(self) -> Source:
        """Return a new source. The caller closes it."""
        ...


ServedModels = Mapping[str, str]
"""The engine's name of a model to fleet.yaml's."""
