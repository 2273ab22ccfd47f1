"""Edits of the sources of addresses of a group of targets, each of one field."""

from __future__ import annotations

from typing import Any

from tests.unit.controlplane.app.oauth2_edits import OAUTH2, PROXY

DOCKER = {"host": "unix:///none.sock"}
DNS = {"names": ["a.invalid"], "type": "A", "port": 9}


def _edit(kind: str, first: dict[str, Any], field: str, value: Any) -> tuple[str, tuple[str | int, ...], Any]:
    return f"targets[].{kind}[].{field}", ("targets", 1, kind), [{**first, field.partition("[")[0]: value}]


SD_EDITS = (
    _edit("consul_sd", {"server": "127.0.0.1:1", "proxy_url": PROXY}, "no_proxy", ".svc"),
    _edit("docker_sd", {**DOCKER, "proxy_url": PROXY}, "no_proxy", ".svc"),
    _edit("dns_sd", DNS, "names", ["a.invalid", "b.invalid"]),
    _edit("dns_sd", DNS, "type", "AAAA"),
    _edit("dns_sd", DNS, "port", 10),
    _edit("dns_sd", DNS, "refresh_interval", "9s"),
    *(
        _edit("consul_sd", {"server": "127.0.0.1:1"}, field, value)
        for field, value in {
            "server": "127.0.0.1:2",
            "scheme": "https",
            "path_prefix": "/consul",
            "datacenter": "d",
            "namespace": "n",
            "partition": "p",
            "services": ["chat"],
            "tags": ["gpu"],
            "node_meta": {"rack": "a"},
            "filter": 'ServiceName == "chat"',
            "tag_separator": ";",
            "allow_stale": False,
            "refresh_interval": "9s",
            "authorization": {"credentials_env": "E"},
            "basic_auth": {"username": "u", "password_file": "/pw"},
            "oauth2": OAUTH2,
            "proxy_url": PROXY,
            "proxy_from_environment": True,
            "tls": {"insecure_skip_verify": True},
        }.items()
    ),
    *(
        _edit("docker_sd", DOCKER, field, value)
        for field, value in {
            "host": "tcp://127.0.0.1:1",
            "port": 9,
            "filters": [{"name": "label", "values": ["a"]}],
            "filters[].name": [{"name": "status", "values": ["a"]}],
            "filters[].values": [{"name": "label", "values": ["a", "b"]}],
            "host_networking_host": "h",
            "match_first_network": False,
            "refresh_interval": "9s",
            "authorization": {"credentials_env": "E"},
            "basic_auth": {"username": "u", "password_file": "/pw"},
            "oauth2": OAUTH2,
            "proxy_url": PROXY,
            "proxy_from_environment": True,
            "tls": {"insecure_skip_verify": True},
        }.items()
    ),
)
"""Edits as in test_reload_property.EDITS."""
