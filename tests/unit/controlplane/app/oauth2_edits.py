"""Edits of the issuers of tokens in a fleet.yaml, for test_reload_property."""

from __future__ import annotations

from typing import Any

OAUTH2: dict[str, Any] = {"client_id": "c", "client_secret_env": "E", "token_url": "http://127.0.0.1:1/token"}
"""An issuer."""


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
    }
    return tuple((f"targets[].oauth2.{field}", target, {**group, "oauth2": new}) for field, new in changed.items())
