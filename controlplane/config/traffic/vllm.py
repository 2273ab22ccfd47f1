"""`driver: vllm` in fleet.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from controlplane.config.checking import Fault, check
from controlplane.config.traffic.base import Traffic, VersionSection
from controlplane.config.vocabulary import Name, Text
from controlplane.config.wording import not_one_of


class VllmTraffic(Traffic):
    """Versions that are LoRA adapters in vLLM servers, switched by their load and unload API."""

    moves = "vllm"
    why_moves = "driver vllm switches no other engine"
    one_engine = "vllm"
    driver: Literal["vllm"]
    adapters: Annotated[dict[Name, Text], Field(min_length=1)]
    """Path of each version's adapter, as the servers see it."""

    @check
    def _has_backends(self) -> Iterator[Fault]:
        if not self.backends:
            yield Fault((), "driver vllm needs backends: [{url: ...}]")

    def version_faults(self, versions: Mapping[str, VersionSection]) -> Iterator[Fault]:
        """Yield a fault for each version without an adapter, each with servers of its own, and unknown names."""
        for name, version in versions.items():
            if name not in self.adapters:
                yield Fault(("traffic", "adapters"), f"lacks the path of {name}'s adapter")
            if version.backends:
                yield Fault(("versions", name, "backends"), "every server has all adapters; put it under traffic:")
        paths = list(self.adapters.values())
        for name, path in self.adapters.items():
            if name not in versions:
                yield Fault(("traffic", "adapters", name), not_one_of(name, "versions", versions))
            elif paths.count(path) > 1:
                yield Fault(("traffic", "adapters", name), f"{path} is the adapter of another version too")
