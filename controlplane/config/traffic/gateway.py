"""`driver: gateway` in fleet.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.config.checking import Fault
from controlplane.config.traffic.base import Traffic, VersionSection, without_backends


class GatewayTraffic(Traffic):
    """Versions behind this product's gateway, which splits requests by weight."""

    moves = "triton"
    why_moves = "no other server serves several versions; put it under versions:"
    driver: Literal["gateway"]

    def is_folder(self, version: VersionSection) -> bool:
        """Return whether a Triton serves the version, on servers of its own or under `traffic`."""
        return bool(self.backends) or any(b.engine == "triton" for b in version.backends)

    def version_faults(self, versions: Mapping[str, VersionSection]) -> Iterator[Fault]:
        """Yield a fault for each version that no server serves."""
        if not self.backends:
            yield from without_backends(versions, "driver gateway sends requests to the servers of a version")
