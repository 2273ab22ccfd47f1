"""Results of queries as the JSON of Prometheus's HTTP API."""

from __future__ import annotations

import json
from typing import NamedTuple

from controlplane.metrics.promql.annotations.collected import Annotations
from controlplane.metrics.promql.values import QueryValue

TRUNCATED = "results truncated due to limit"


class Rendered(NamedTuple):
    """The `data` of an answer as JSON, with its warnings and its infos."""

    data: bytes
    """`data` as JSON in UTF-8."""
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()


def render(value: QueryValue, limit: int, annotations: Annotations) -> Rendered:
    """Return a result with its annotations. `limit` is the maximum number of series. 0 means all."""
    data = value.to_prometheus_json()
    result = data["result"]
    cut = bool(limit) and data["resultType"] in ("vector", "matrix") and len(result) > limit
    if cut:
        data = {**data, "result": result[:limit]}
    warnings = (*((TRUNCATED,) if cut else ()), *annotations.told("warning"))
    return Rendered(json.dumps(data, separators=(",", ":")).encode(), warnings, annotations.told("info"))
