"""PromQL written as Prometheus's own formatter writes it."""

from __future__ import annotations

import promql_parser

from alerts.promql.dialect import rewrite
from controlplane.metrics.syntax import parse


def prettify(expr: str) -> str:
    """Return the expression with one style of blanks and breaks. Raises QueryError(bad_data) for what is no PromQL.

    An expression with forms that the formatter does not know (`1_000`, a time after `@`) is returned as it is: what
    the formatter made of them would be another query.
    """
    parse(expr)
    rewritten = rewrite(expr)
    if rewritten.with_literals(rewritten.text) != expr:
        return expr.strip()
    formatted = rewritten.with_literals(str(promql_parser.parse(rewritten.text).prettify()))
    # Names that are quoted the formatter writes without quotes, whatever they hold.
    return expr.strip() if rewritten.meant(formatted) != formatted else formatted
