"""The kinds of servers that can be targets, one record each: place of its metrics, API, and whether it serves models.

To add an engine, add a record here and its names to `catalogue/catalogue.yaml`. All other code uses this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import urlsplit

AUTO = "auto"
"""The kind of a target whose engine is recognised by what it exposes, as long as it is not recognised."""
CUSTOM = "custom"
"""The kind of a program that the catalogue does not know: raw metrics only."""


class Api(StrEnum):
    """An HTTP API of a server, for readiness checks and for probes."""

    TRITON = "triton"
    """KServe v2 with Triton's repository and generate extensions."""
    OPENAI = "openai"
    """`/health`, `/v1/models` and the completions."""


@dataclass(frozen=True)
class EngineKind:
    """One kind of server. Paths and ports are the defaults in its own documentation."""

    name: str
    metrics_path: str = "/metrics"
    metrics_port: int | None = None
    """Default port of the metrics; None: the port of the API."""
    api: Api | None = None
    """API for readiness checks; None: servers of this kind serve no models."""
    health_path: str = "/health"
    """Path that answers 200 while a server with OpenAI's API lives."""
    on_demand: bool = False
    """Whether it serves each model that it lists, by loading it: being listed first means nothing."""
    source: str = "engine"
    """Label `source` of its canonical series: who counted."""
    hosted: bool = False
    """Whether it is an account at a provider, whose address is known and whose API needs a key."""
    metered: bool = False
    """Whether a cloud's metrics are read, which have no costs; with `hosted` only."""
    names_models: bool = True
    """Whether its metrics have its own model names, which may differ from fleet.yaml's."""

    def metrics_of(self, url: str) -> str:
        """Return the default address of a server's metrics, from the address of its API."""
        if self.metrics_port is None:
            return url.rstrip("/") + self.metrics_path
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}:{self.metrics_port}{self.metrics_path}"

    @property
    def serves(self) -> bool:
        """Whether a model of fleet.yaml can have it as a backend."""
        return self.api is not None


_KINDS = (
    EngineKind("triton", metrics_port=8002, api=Api.TRITON),
    EngineKind("vllm", api=Api.OPENAI),
    EngineKind("sglang", api=Api.OPENAI),
    # trtllm-serve's /metrics must not be read: a read empties a queue.
    EngineKind("trtllm", metrics_path="/prometheus/metrics", api=Api.OPENAI),
    EngineKind("tgi", api=Api.OPENAI),
    EngineKind("lmdeploy", api=Api.OPENAI),
    EngineKind("llamacpp", api=Api.OPENAI),
    EngineKind("ollama", metrics_path="/api/ps", api=Api.OPENAI, health_path="/api/version", on_demand=True),
    # Neither is a backend: FastChat's /v1/models empties its routing table, and MII's /health is always good.
    EngineKind("fastchat", metrics_path="/"),
    EngineKind("mii", metrics_path="/"),
    EngineKind("tfserving", metrics_path="/monitoring/prometheus/metrics"),
    EngineKind("ray"),
    EngineKind("kserve"),
    EngineKind("litellm", source="proxy"),
    EngineKind("sglang-router", source="proxy"),
    EngineKind("vllm-router", source="proxy"),
    EngineKind("envoy-ai-gateway", metrics_port=1064, source="proxy"),
    EngineKind("openai", source="account", hosted=True),
    EngineKind("anthropic", source="account", hosted=True),
    EngineKind("bedrock", source="account", hosted=True, metered=True),
    EngineKind("sagemaker", source="account", hosted=True, metered=True),
    EngineKind("azure-openai", source="account", hosted=True, metered=True),
    EngineKind("vertex", source="account", hosted=True, metered=True),
    EngineKind("dcgm", names_models=False),
    EngineKind("nvml", names_models=False),
    EngineKind("amd", names_models=False),
    EngineKind("gaudi", names_models=False),
    EngineKind("logs", source="log", names_models=False),
    EngineKind("probe", source="probe", names_models=False),
    EngineKind("gateway", source="gateway", names_models=False),
    EngineKind(CUSTOM, names_models=False),
    EngineKind(AUTO),
)
ENGINES: Mapping[str, EngineKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""Kinds by name, as in `targets[].engine`."""
BACKENDS: Mapping[str, EngineKind] = MappingProxyType({kind.name: kind for kind in _KINDS if kind.serves})
"""Kinds that serve models, by name."""
