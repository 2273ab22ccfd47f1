"""PromQL written as Prometheus's own formatter writes it."""

from __future__ import annotations

import promql_parser

from alerts.promql.dialect import rewritten
from controlplane.metrics.syntax import parse


def prettify(expr: str) -> str:
    """Return the expression with one style of blanks and breaks. Raises QueryError(bad_data) for what is no PromQL.

    An expression with forms that the formatter does not know (`1_000`, a time after `@`) is returned as it is: what
    the formatter made of them would be another query.
    """
    parse(expr)
    return str(promql_parser.parse(expr).prettify()) if rewritten(expr) == expr else expr.strip()
