"""`kubernetes_sd_configs` of a job in a prometheus.yml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alerts.yaml_nodes import Place
from collectors.discovery.kubernetes_roles import Role, Selector, conflicts
from collectors.discovery.kubernetes_sd import KubernetesSd
from controlplane.config.scraping.prometheus import access
from controlplane.config.scraping.prometheus.sections import Section, check_url
from controlplane.config.wording import one_of

FIELDS = ("role", "api_server", "kubeconfig_file", "namespaces", "selectors", "attach_metadata", *access.FIELDS)
"""Fields that Prometheus knows."""


def read(section: Section, folder: Path, leave_out: access.Tell, tell: access.Tell) -> KubernetesSd:
    """Return the settings of a section. Raises RuleError for what Prometheus refuses."""
    names = Section(section.at("namespaces"), f"{section.path}.namespaces", ("names", "own_namespace"))
    attached = Section(section.at("attach_metadata"), f"{section.path}.attach_metadata", ("node",))
    kubeconfig = section.text("kubeconfig_file")
    tls = Section(section.at("tls_config"), f"{section.path}.tls_config", access.TLS)
    for name in ("ca", "cert", "key"):
        if tls.text(name):
            leave_out(tls, name, f"is not supported here; use {name}_file")
    if section.at("oauth2"):
        leave_out(section, "oauth2", "is not supported; use authorization")
    if section.text("proxy_url") or section.flag("proxy_from_environment"):
        leave_out(section, "proxy_url" if section.text("proxy_url") else "proxy_from_environment", "is not supported")
    sd = KubernetesSd(
        _role(section),
        section.text("api_server"),
        str(folder / kubeconfig) if kubeconfig else "",
        access.auth_of(section, folder, leave_out, tell),
        names.texts("names"),
        names.flag("own_namespace"),
        tuple(_selector(place, f"{section.path}.selectors[{n}]") for n, place in enumerate(_items(section))),
        attached.flag("node"),
    )
    if sd.api_server:
        check_url(section, "api_server")
    found = conflicts(
        sd.role,
        sd.selectors,
        api_server=sd.api_server,
        kubeconfig=sd.kubeconfig,
        has_access=sd.auth is not None,
        own_namespace=sd.own_namespace,
    )
    for field, sentence in found:
        raise section.error(sentence, field)
    return sd


def _role(section: Section) -> Role:
    role = section.text("role")
    if role not in list(Role):
        raise section.error(one_of(role, list(Role)) if role else "is required", "role" if role else "")
    return Role(role)


def _items(section: Section) -> Iterator[Place]:
    at = section.at("selectors")
    return at.items() if at else iter(())


def _selector(place: Place, path: str) -> Selector:
    section = Section(place, path, ("role", "label", "field"))
    return Selector(_role(section), section.text("label"), section.text("field"))
