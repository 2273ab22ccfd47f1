"""Every kind of server that is watched, in one record each: where its metrics are, which API it speaks, what it serves.

A further engine is a record here, and its names in `catalogue.yaml`; everything else asks this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Api(StrEnum):
    """An HTTP API by which a server is asked what it serves, and by which a probe asks it a question."""

    TRITON = "triton"
    """KServe v2 with Triton's repository and generate extensions."""
    OPENAI = "openai"
    """`/health`, `/v1/models` and the completions."""


@dataclass(frozen=True)
class EngineKind:
    """What is known of one kind of server. Paths and ports are the defaults of its own documentation."""

    name: str
    metrics_path: str = "/metrics"
    metrics_port: int | None = None
    """Where metrics are by default, if not on the port of its API."""
    api: Api | None = None
    """How a backend of this kind is asked whether it is ready; None: it serves no models."""

    @property
    def serves(self) -> bool:
        """It serves models, and its metrics name them as it calls them: fleet.yaml may call them otherwise."""
        return self.api is not None


_KINDS = (
    EngineKind("triton", metrics_port=8002, api=Api.TRITON),
    EngineKind("vllm", api=Api.OPENAI),
    EngineKind("sglang", api=Api.OPENAI),
    # trtllm-serve's /metrics is another thing: reading it empties a queue.
    EngineKind("trtllm", metrics_path="/prometheus/metrics", api=Api.OPENAI),
    EngineKind("tgi", api=Api.OPENAI),
    EngineKind("lmdeploy", api=Api.OPENAI),
    EngineKind("llamacpp", api=Api.OPENAI),
    EngineKind("dcgm"),
    EngineKind("nvml"),
    EngineKind("probe"),
    EngineKind("custom"),
)
ENGINES: Mapping[str, EngineKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""The kinds that `targets[].engine` may name, by name."""
BACKENDS: Mapping[str, EngineKind] = MappingProxyType({kind.name: kind for kind in _KINDS if kind.serves})
"""Those of them that serve models."""
