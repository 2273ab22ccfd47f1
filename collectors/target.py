"""A target: one scraped endpoint, and what it is known as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from collectors.samples import Labels


@dataclass(frozen=True)
class Auth:
    """How a target is asked. Secrets are paths, read at each scrape so that rotation needs no restart."""

    scheme: str = "Bearer"
    credentials_file: str | None = None
    credentials_env: str | None = None
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    insecure_skip_verify: bool = False


@dataclass(frozen=True)
class Target:
    """One scraped endpoint. Hashable and comparable: discovery diffs sets of these.

    `url` is absolute (`http://10.0.0.5:8002/metrics`), or `local:nvml` for this host's GPUs. `labels` are the labels
    of the configuration, stored on every raw and canonical series (`job` and `instance` included once resolved).
    `models` maps what the engine calls a model to what fleet.yaml calls it.
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

    @property
    def key(self) -> str:
        """The source name under which its samples are stored: unique within a fleet."""
        return f"{self.job}/{self.instance}/{self.url}"


@dataclass(frozen=True)
class TargetHealth:
    """What is known of a target's last scrape. `health` is `unknown` before the first one."""

    target: Target
    health: str = "unknown"
    """up, down or unknown."""
    last_error: str = ""
    last_error_reason: str = ""
    last_scrape_at: float | None = None
    """Unix seconds."""
    duration_s: float | None = None
    samples: int | None = None
    missing: tuple[str, ...] = field(default=())
    """Canonical metrics that the catalogue expects of this engine and that the last scrape did not have."""
    unstorable: int = 0
    """Samples of the last scrape that were left out: their names or labels hold a NUL, which no database stores."""
    since: float | None = None
    """Unix seconds of the first scrape since which `health` and `missing` have been as they are."""
    known_since: float | None = field(default=None, compare=False)
    """Unix seconds when that scrape's row was stored: a query of before could not see it."""
    recovered: bool = False
    """Before `since` it was down, or had no samples, or fewer of the expected metrics."""

    def moved_by(self, by_s: float) -> TargetHealth:
        """Return it as it is after the clock was set: what has lasted goes on having lasted for as long."""
        moved = {
            name: at + by_s
            for name in ("last_scrape_at", "since", "known_since")
            if (at := getattr(self, name)) is not None
        }
        return replace(self, **moved)


class Source(Protocol):
    """Yields one target's exposition text. One deadline bounds the whole read."""

    async def read(self, timeout_s: float) -> bytes:
        """Return a body in the text exposition format (at most the configured size).

        Raises ScrapeError. Never runs past `timeout_s` by more than scheduling noise.
        """
        ...

    async def close(self) -> None:
        """Release connections and children."""
        ...


class SourceRecipe(Protocol):
    """How a target's source is made, before it is made. Equal recipes make equal sources."""

    def made(self) -> Source:
        """Return a fresh source; whoever asked closes it."""
        ...


ServedModels = Mapping[str, str]
"""What an engine calls a model, to what fleet.yaml calls it."""
