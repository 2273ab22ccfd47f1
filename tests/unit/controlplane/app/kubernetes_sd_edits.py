"""One edit of each field of `targets[].kubernetes_sd`, for the test that compares a reload with a restart."""

from __future__ import annotations

from typing import Any

_BEFORE: dict[str, Any] = {"role": "pod", "api_server": "http://127.0.0.1:1"}
_FIELDS: dict[str, dict[str, Any]] = {
    "role": {"role": "service"},
    "api_server": {"api_server": "http://127.0.0.1:2"},
    "kubeconfig_file": {"kubeconfig_file": "/kubeconfig", "api_server": None},
    "namespaces.names": {"namespaces": {"names": ["llm"]}},
    "namespaces.own_namespace": {"namespaces": {"own_namespace": True}, "api_server": None},
    "selectors[].role": {"selectors": [{"role": "pod"}]},
    "selectors[].label": {"selectors": [{"role": "pod", "label": "app=a"}]},
    "selectors[].field": {"selectors": [{"role": "pod", "field": "status.phase=Running"}]},
    "attach_metadata.node": {"attach_metadata": {"node": True}},
    "authorization": {"authorization": {"credentials_env": "E"}},
    "basic_auth": {"basic_auth": {"username": "u", "password_file": "/p"}},
    "tls": {"tls": {"insecure_skip_verify": True}},
}


def kubernetes_edits(group: tuple[str | int, ...]) -> list[tuple[str, tuple[str | int, ...], Any]]:
    """Return (field, place, value) of each edit. `group` is the place of a group of targets."""
    return [
        (
            f"targets[].kubernetes_sd[].{field}",
            (*group, "kubernetes_sd"),
            [{**_BEFORE, **new}],
        )
        for field, new in _FIELDS.items()
    ]
