"""What the OpenAPI document says beyond what FastAPI derives: access, and the one shape of every error."""

from __future__ import annotations

from typing import Any

SECURITY_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "cp_<id>_<secret>"},
    "session": {"type": "apiKey", "in": "cookie", "name": "cp_session"},
}

PROBLEM: dict[str, Any] = {
    "description": "A problem (RFC 9457); below /api/v1/ Prometheus's error envelope instead.",
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


def describe(role: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return a route's options with its role (None: no token needed) and the shape of its errors added."""
    security = {"security": [{"token": []}, {"session": []}], "x-required-role": role} if role else {"security": []}
    return {
        **options,
        "openapi_extra": {**security, **(options.get("openapi_extra") or {})},
        "responses": {"default": PROBLEM, **(options.get("responses") or {})},
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Return FastAPI's document with the security schemes that the routes refer to."""
    components = {**document.get("components", {}), "securitySchemes": SECURITY_SCHEMES}
    return {**document, "components": components}
