"""What the control plane and an operator's program say to each other: version 1 of the schema. Pure.

docs/reference/exec-driver.md describes it for operators.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.errors import Unavailable
from controlplane.traffic.words import told

SCHEMA = 1
"""Version of the schema. A change that a program of version 1 cannot read gets the next number."""
SUM = 0.001
"""Largest difference of the shares' sum from 1."""


@dataclass(frozen=True)
class Reply:
    """A program's reply. Maps are by version."""

    weights: Mapping[str, float]
    requests: Mapping[str, int] | None = None
    open: Mapping[str, int] | None = None
    pending: str = ""
    life: str = ""
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def call(verb: str, model: str, versions: Mapping[str, list[str]], **fields: Any) -> bytes:
    """Return the text of a call on standard input: one JSON object and a line break.

    `versions` holds the addresses of each version's servers.
    """
    said = {"schema": SCHEMA, "verb": verb, "model": model, "versions": versions, **fields}
    return json.dumps(said).encode() + b"\n"


def reply(verb: str, output: bytes, versions: Mapping[str, list[str]]) -> Reply:
    """Return a program's reply. Raises Unavailable, with the fault, for output of another shape."""
    try:
        found = json.loads(output)
        if not isinstance(found, dict):
            raise ValueError("expected one JSON object")
        if found.get("schema") != SCHEMA:
            raise ValueError(f'expected "schema": {SCHEMA}, got {told(json.dumps(found.get("schema")))[:100]}')
        return Reply(
            weights=_weights(found.get("weights"), versions) if verb == "observe" else {},
            requests=_counts(found, "requests", versions),
            open=_counts(found, "open", versions),
            pending=_text(found, "pending"),
            life=_text(found, "life"),
            reasons=_texts(found, "reasons"),
            notes=_texts(found, "notes"),
        )
    except (ValueError, RecursionError) as error:
        raise Unavailable(f"its answer to {verb} is not of the schema: {told(str(error))}") from error


def _weights(value: Any, versions: Mapping[str, list[str]]) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError('expected "weights": the share of each version, such as {"v1": 1.0}')
    for version, share in value.items():
        if version not in versions:
            raise ValueError(f"weights has {version!r}, which is no version in fleet.yaml")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"the weight of {version} must be a share from 0 to 1")
    if value and abs(sum(value.values()) - 1.0) > SUM:
        raise ValueError(f"the weights add up to {sum(value.values()):g} instead of 1")
    return {version: float(share) for version, share in value.items() if share > 0}


def _counts(found: dict[str, Any], name: str, versions: Mapping[str, list[str]]) -> dict[str, int] | None:
    value = found.get(name)
    if value is None:
        return None
    if not isinstance(value, dict) or not all(
        version in versions and isinstance(count, int) and not isinstance(count, bool) and count >= 0
        for version, count in value.items()
    ):
        raise ValueError(f"{name} must hold a whole number for each version, or be left out")
    return dict(value)


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text")
    return told(value)


def _texts(found: dict[str, Any], name: str) -> tuple[str, ...]:
    value = found.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name} must be a list of texts")
    return tuple(told(text) for text in value)
