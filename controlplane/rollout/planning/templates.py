"""PromQL of fleet.yaml with the names of a rollout filled in. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from collectors.durations import format_duration
from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.tree import parse

SAMPLE = ("model", "v2", "v1", 300.0)
"""Values of the variables for a check without a rollout: model, version, stable version, seconds of the window."""
_VARIABLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def filled(expr: str, model: str, version: str, stable: str, window_s: float | None = None) -> str:
    """Return an expression with `{{model}}`, `{{version}}`, `{{stable}}` and `{{window}}` replaced.

    `window_s` becomes a duration such as `5m`. None: the expression has no window. Raises ValueError for another
    variable. Names of models and versions hold no quotes, so they fit into a label's value.
    """
    values: Mapping[str, str] = {
        "model": model,
        "version": version,
        "stable": stable,
        **({} if window_s is None else {"window": format_duration(window_s)}),
    }

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            known = ", ".join(f"{{{{{name}}}}}" for name in values)
            raise ValueError(f"{found[0]} is not known here; known are {known}")
        return values[found[1]]

    return _VARIABLE.sub(value, expr)


def fault_of(expr: str, *, windowed: bool) -> str:
    """Return why an expression of fleet.yaml cannot be evaluated, or "". `windowed`: `{{window}}` may be used."""
    try:
        parse(filled(expr, *(SAMPLE if windowed else SAMPLE[:3])))
    except (ValueError, QueryError) as error:
        return str(error)
    return ""
