"""The parts of the OpenAPI document that FastAPI does not derive: access, and the format of errors."""

from __future__ import annotations

from typing import Any

from controlplane.api import prometheus_document

PROMETHEUS_PREFIX = "/api/v1/"
"""Paths below this prefix answer in Prometheus's format."""

ALERTMANAGER_PREFIX = "/api/v2/"
"""Paths below this prefix answer in Alertmanager's format: an error is a JSON string."""

SECURITY_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "cp_<id>_<secret>"},
    "session": {"type": "apiKey", "in": "cookie", "name": "cp_session"},
}

PROBLEM: dict[str, Any] = {
    "description": "A problem (RFC 9457).",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "reasons"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "reasons": {"type": "array", "items": {"type": "string"}},
                },
            }
        }
    },
}


SENTENCE: dict[str, Any] = {
    "description": "A sentence, as Alertmanager answers errors.",
    "content": {"application/json": {"schema": {"type": "string"}}},
}


def _error(path: str) -> dict[str, Any]:
    if path.startswith(PROMETHEUS_PREFIX):
        return prometheus_document.ERROR
    return SENTENCE if path.startswith(ALERTMANAGER_PREFIX) else PROBLEM


def describe(path: str, role: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return a route's options with its role (None: no token needed), parameters and error format added."""
    security = {"security": [{"token": []}, {"session": []}], "x-required-role": role} if role else {"security": []}
    known = prometheus_document.operation(path, set(options.get("methods") or ()))
    return {
        **options,
        "openapi_extra": {**security, **known, **(options.get("openapi_extra") or {})},
        "responses": {"default": _error(path), **(options.get("responses") or {})},
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Return FastAPI's document with the security schemes that the routes refer to."""
    components = {**document.get("components", {}), "securitySchemes": SECURITY_SCHEMES}
    return {**document, "components": components}
