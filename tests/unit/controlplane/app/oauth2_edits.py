"""Edits of the issuers of tokens and of the proxies in a fleet.yaml, for test_reload_property."""

from __future__ import annotations

from typing import Any

OAUTH2: dict[str, Any] = {"client_id": "c", "client_secret_env": "E", "token_url": "http://127.0.0.1:1/token"}
"""An issuer."""
PROXY = "http://127.0.0.1:1"


def proxy_edits(
    path: str, where: tuple[str | int, ...], section: dict[str, Any]
) -> tuple[tuple[str, tuple[str | int, ...], Any], ...]:
    """Return edits of a section's proxy."""
    return (
        (f"{path}.proxy_url", where, {**section, "proxy_url": PROXY}),
        (f"{path}.no_proxy", where, {**section, "proxy_url": PROXY, "no_proxy": ".svc"}),
        (f"{path}.proxy_from_environment", where, {**section, "proxy_from_environment": True}),
    )


def oauth2_edits(target: tuple[str | int, ...]) -> tuple[tuple[str, tuple[str | int, ...], Any], ...]:
    """Return edits as in test_reload_property.EDITS of a target that has addresses alone."""
    group = {"engine": "vllm", "addresses": ["127.0.0.1:1"]}
    changed = {
        "client_id": {**OAUTH2, "client_id": "d"},
        "client_secret_file": {"client_id": "c", "client_secret_file": "/s", "token_url": OAUTH2["token_url"]},
        "client_secret_env": {**OAUTH2, "client_secret_env": "F"},
        "token_url": {**OAUTH2, "token_url": "http://127.0.0.1:2/token"},
        "scopes": {**OAUTH2, "scopes": ["a"]},
        "endpoint_params": {**OAUTH2, "endpoint_params": {"audience": "x"}},
        "tls": {**OAUTH2, "tls": {"insecure_skip_verify": True}},
        "proxy_url": {**OAUTH2, "proxy_url": PROXY},
        "no_proxy": {**OAUTH2, "proxy_url": PROXY, "no_proxy": ".svc"},
        "proxy_from_environment": {**OAUTH2, "proxy_from_environment": True},
    }
    issued = ((f"targets[].oauth2.{field}", target, {**group, "oauth2": new}) for field, new in changed.items())
    return (*issued, *proxy_edits("targets[]", target, group))
