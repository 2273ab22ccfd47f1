"""PromQL written as Prometheus's own formatter writes it."""

from __future__ import annotations

import promql_parser

from controlplane.metrics.syntax import parse


def prettify(expr: str) -> str:
    """Return the expression with one style of blanks and breaks. Raises QueryError(bad_data) for what is no PromQL.

    As Prometheus, but for numbers: those that it writes with an exponent (`1e+09`) are written out.
    """
    parse(expr)
    return str(promql_parser.parse(expr).prettify())
