"""PromQL written as Prometheus's own formatter writes it."""

from __future__ import annotations

import promql_parser

from controlplane.metrics.syntax import parse


def prettify(expr: str) -> str:
    """Return the expression with one style of blanks and breaks. Raises QueryError(bad_data) for what is no PromQL."""
    parse(expr)
    return str(promql_parser.parse(expr).prettify())
