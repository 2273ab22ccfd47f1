"""Settings of a list of groups made of a cluster's ServiceMonitors and PodMonitors (prometheus_operator).

Pure. Watching the cluster and reading the monitors are the jobs of controlplane/discovery/monitors/.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from collectors.discovery.kubernetes_sd import KubernetesSd


@dataclass(frozen=True)
class OperatorSd:
    """The monitors of a cluster. Implements collectors.discovery.group.SdConfig."""

    at: KubernetesSd
    """The cluster, the account and the namespaces. Its role has no meaning."""
    kinds: tuple[str, ...]
    """The objects that are read, by the plurals of the API: servicemonitors, podmonitors, probes, scrapeconfigs,
    namespaces."""

    @property
    def place(self) -> str:
        """The namespaces and where the cluster is."""
        return f"prometheus_operator{self.at.where}"

    @property
    def identity(self) -> tuple[str, OperatorSd]:
        """The settings without credentials."""
        return "prometheus_operator", replace(self, at=replace(self.at, auth=None))
