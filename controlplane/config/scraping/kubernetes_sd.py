"""`targets[].kubernetes_sd` of fleet.yaml: objects of a Kubernetes cluster, with the fields of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from collectors.discovery.kubernetes_roles import Role, Selector, conflicts
from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import Access, FilePath, HttpUrl, Model, Text


class NamespacesSection(Model):
    """The namespaces whose objects are read."""

    names: tuple[Text, ...] = ()
    own_namespace: bool = False


class SelectorSection(Model):
    """Selection of the objects of one kind."""

    role: Role
    label: Text | None = None
    field: Text | None = None


class AttachSection(Model):
    """Labels of other objects."""

    node: bool = False


class KubernetesSdSection(Access):
    """A cluster whose objects are addresses, as in Prometheus's `kubernetes_sd_configs`."""

    role: Role
    api_server: HttpUrl | None = None
    kubeconfig_file: FilePath | None = None
    namespaces: NamespacesSection = Field(default=NamespacesSection())
    selectors: tuple[SelectorSection, ...] = ()
    attach_metadata: AttachSection = Field(default=AttachSection())

    @check
    def _goes_together(self) -> Iterator[Fault]:
        found = conflicts(
            self.role,
            self.chosen,
            api_server=self.api_server or "",
            kubeconfig=str(self.kubeconfig_file or ""),
            has_access=bool(self.authorization or self.basic_auth or self.tls),
            own_namespace=self.namespaces.own_namespace,
        )
        for field, sentence in found:
            yield Fault((field,) if field else (), sentence)

    @property
    def chosen(self) -> tuple[Selector, ...]:
        """The selectors."""
        return tuple(Selector(each.role, each.label or "", each.field or "") for each in self.selectors)
