"""Settings of a list of addresses made of a Kubernetes cluster's objects (kubernetes_sd).

Pure. Watching the cluster is the job of controlplane/discovery/kubernetes/.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from collectors.discovery.kubernetes_roles import Role, Selector
from collectors.target import Auth


@dataclass(frozen=True)
class KubernetesSd:
    """Objects of a cluster. Implements collectors.discovery.group.SdConfig."""

    role: Role
    api_server: str = ""
    """URL of the API server; "" is that of the kubeconfig, or of the process's own account."""
    kubeconfig: str = ""
    """Path of a kubeconfig; "" is the process's own account: that of its pod, else KUBECONFIG or ~/.kube/config."""
    auth: Auth | None = None
    """Credentials for `api_server`."""
    namespaces: tuple[str, ...] = ()
    own_namespace: bool = False
    """Whether the namespace of the process's pod is one, too. Without any namespace, all are read."""
    selectors: tuple[Selector, ...] = ()
    with_nodes: bool = False
    """Whether pods and endpoints have the labels of their node."""
    with_waiting: bool = False
    """Role pod only: whether pods without an IP are in the list, with an empty address."""

    @property
    def place(self) -> str:
        """The role, the namespaces and where the cluster is."""
        return f"kubernetes_sd role {self.role}{self.where}"

    @property
    def where(self) -> str:
        """The namespaces and where the cluster is, with a space before; "" for all of those of the own account."""
        names = [*self.namespaces, *(["its own namespace"] if self.own_namespace else [])]
        server = self.api_server or self.kubeconfig
        return f"{' of ' + ', '.join(names) if names else ''}{f' at {server}' if server else ''}"

    @property
    def identity(self) -> tuple[str, KubernetesSd]:
        """The settings without credentials."""
        return "kubernetes_sd", replace(self, auth=None)

    def selector(self, role: Role) -> Selector:
        """Return the selector of a kind of objects."""
        return next((each for each in self.selectors if each.role is role), Selector(role))
