"""`driver: envoy` in fleet.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from controlplane.config.checking import Fault, check
from controlplane.config.remote import ServerUrl
from controlplane.config.traffic.base import Traffic, VersionSection, without_backends
from controlplane.config.vocabulary import Access, FilePath, Name, Text
from controlplane.config.wording import not_one_of


class EnvoyInstance(Access):
    """One Envoy: the address of its admin interface, and the file of routes that it watches."""

    admin: ServerUrl
    routes: FilePath
    """The file of a `path_config_source` of `rds`. Several Envoys may watch the same file."""


class EnvoyTraffic(Traffic):
    """Versions behind Envoy, which splits requests by `weighted_clusters` of a file of routes."""

    moves = None
    driver: Literal["envoy"]
    instances: Annotated[tuple[EnvoyInstance, ...], Field(min_length=1)]
    """Every Envoy that has the routes. All get the same weights."""
    clusters: dict[Name, Text] = Field(default={})
    """Envoy's cluster of a version. Default: MODEL_VERSION."""

    @check
    def _has_no_shared_servers(self) -> Iterator[Fault]:
        if self.backends:
            yield Fault(("backends",), "Envoy sends requests to the servers of a version; put them under versions:")

    def version_faults(self, versions: Mapping[str, VersionSection]) -> Iterator[Fault]:
        """Yield a fault for each version without servers, and each name that is no version."""
        yield from without_backends(versions, "driver envoy asks the servers of a version whether they are ready")
        for name in self.clusters:
            if name not in versions:
                yield Fault(("traffic", "clusters", name), not_one_of(name, "versions", versions))
