"""One edit of each field of `targets[].prometheus_operator`, for the test that compares a reload with a restart."""

from __future__ import annotations

from typing import Any

from tests.unit.controlplane.app.oauth2_edits import OAUTH2, PROXY

_BEFORE: dict[str, Any] = {"api_server": "http://127.0.0.1:1"}
_SELECTOR = {"match_expressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
_FIRST = "service_monitor_selector"
_OTHERS = (
    "service_monitor_namespace_selector", "pod_monitor_selector", "pod_monitor_namespace_selector",
    "probe_selector", "scrape_config_selector",
)  # fmt: skip
_SCRAPE_CLASSES: dict[str, dict[str, Any]] = {
    "name": {},
    "default": {"default": True},
    "authorization": {"authorization": {"credentials_env": "E"}},
    "basic_auth": {"basic_auth": {"username": "u", "password_file": "/p"}},
    "oauth2": {"oauth2": OAUTH2},
    "proxy_url": {"proxy_url": PROXY},
    "no_proxy": {"proxy_url": PROXY, "no_proxy": ".svc"},
    "proxy_from_environment": {"proxy_from_environment": True},
    "tls": {"tls": {"insecure_skip_verify": True}},
    "relabel_configs": {"relabel_configs": [{"target_label": "a", "replacement": "b"}]},
    "metric_relabel_configs": {"metric_relabel_configs": [{"target_label": "a", "replacement": "b"}]},
}
_FIELDS: dict[str, dict[str, Any]] = {
    "api_server": {"api_server": "http://127.0.0.1:2"},
    "kubeconfig_file": {"kubeconfig_file": "/kubeconfig", "api_server": None},
    "namespaces": {"namespaces": {"names": ["llm"]}},
    "namespaces.own_namespace": {"namespaces": {"own_namespace": True}, "api_server": None},
    "authorization": {"authorization": {"credentials_env": "E"}},
    "basic_auth": {"basic_auth": {"username": "u", "password_file": "/p"}},
    "tls": {"tls": {"insecure_skip_verify": True}},
    "service_discovery_role": {"service_discovery_role": "endpointslice"},
    f"{_FIRST}.match_labels": {_FIRST: {"match_labels": {"a": "b"}}},
    **{f"{_FIRST}.match_expressions[].{field}": {_FIRST: _SELECTOR} for field in ("key", "operator", "values")},
    **{name: {name: _SELECTOR} for name in _OTHERS},
    **{
        f"scrape_classes[].{field}": {"scrape_classes": [{"name": "mesh", **new}]}
        for field, new in _SCRAPE_CLASSES.items()
    },
    "pod_monitor_selector (none)": {"pod_monitor_selector": None},
    **{
        f"{kind}_namespace_selector": {f"{kind}_selector": {}, f"{kind}_namespace_selector": _SELECTOR}
        for kind in ("probe", "scrape_config")
    },
}  # fmt: skip


def operator_edits(group: tuple[str | int, ...]) -> list[tuple[str, tuple[str | int, ...], Any]]:
    """Return (field, place, value) of each edit. `group` is the place of a group of targets."""
    return [
        (f"targets[].prometheus_operator.{field}", group, {"prometheus_operator": {**_BEFORE, **new}})
        for field, new in _FIELDS.items()
    ]
