"""Check `gateway:` of fleet.yaml: files of TLS, addresses that others reach, keys that cannot exist."""

from __future__ import annotations

import ipaddress

from controlplane.app.checks.findings import Findings
from controlplane.config.gateway import GatewaySection, ListenerTls
from controlplane.config.loader import LoadedFleet
from controlplane.config.vocabulary import whole


def check_gateway(loaded: LoadedFleet, findings: Findings) -> None:
    """Add findings about a gateway that the file describes. A file without the section has none. Blocking."""
    if "gateway" not in loaded.document.data or not loaded.fleet.reads("gateway"):
        return
    section = loaded.fleet.gateway
    if not whole(section):
        return
    if section.tls is not None:
        _check_files(section.tls, findings)
    elif not _is_loopback(section.listen):
        sentence = f"{section.listen} without tls:, so keys and prompts are sent unencrypted; set gateway.tls"
        findings.warn(("gateway", "listen"), sentence)
    _check_keys(section, findings)


def _check_files(tls: ListenerTls, findings: Findings) -> None:
    for name, path in (
        ("cert_file", tls.cert_file),
        ("key_file", tls.key_file),
        ("client_ca_file", tls.client_ca_file),
    ):
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            findings.warn(("gateway", "tls", name), f"{path}: {error.strerror}; the gateway does not start without it")


def _check_keys(section: GatewaySection, findings: Findings) -> None:
    if section.authentication == "keys" and section.control_plane is None and not section.beside:
        findings.warn(
            ("gateway", "authentication"),
            "keys are made by a control plane, and none is followed: every request is refused; set "
            "gateway.control_plane, or authentication: none",
        )


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
