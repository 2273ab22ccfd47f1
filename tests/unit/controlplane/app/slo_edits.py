"""Edits of SLOs and of the packs' owners in the rich fleet.yaml."""

from __future__ import annotations

from typing import Any

Where = tuple[str | int, ...]
_SLO: Where = ("models", 1, "slos", 1)
SLO_EDITS: tuple[tuple[str, Where, Any], ...] = (
    ("owners", ("owners",), {"default": "ml", "gpu": "infra"}),
    ("models[].slos[].name", (*_SLO, "name"), "quick"),
    ("models[].slos[].objective", (*_SLO, "objective"), 95),
    ("models[].slos[].window", (*_SLO, "window"), "30d"),
    ("models[].slos[].latency.metric", (*_SLO, "latency", "metric"), "ttft"),
    ("models[].slos[].latency.below", (*_SLO, "latency", "below"), "5s"),
    ("models[].slos[].availability", _SLO, {"name": "fast", "objective": 99, "availability": {}}),
)
