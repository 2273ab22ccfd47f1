"""PromQL written as Prometheus's own formatter writes it."""

from __future__ import annotations

import contextlib

import promql_parser

from alerts.promql.dialect import rewrite
from alerts.promql.strings import quote
from controlplane.metrics.promql.syntax.tree import parse


def prettify(expr: str) -> str:
    """Return the expression with one style of blanks and breaks. Raises QueryError(bad_data) for what is no PromQL.

    An expression with forms that the formatter does not know (`1_000`, a time after `@`) is returned as it is: what
    the formatter made of them would be another query.
    """
    parse(expr)
    rewritten = rewrite(expr)
    if rewritten.with_strings(rewritten.text, rewritten.literals) != expr:
        return expr.strip()
    quoted = list(map(quote, rewritten.strings))
    plain = rewritten.with_strings(rewritten.text, quoted)
    if "\\" not in plain:
        # What it gets is as long as what is written in the end: it breaks lines by their length.
        with contextlib.suppress(ValueError):
            return str(promql_parser.parse(plain).prettify())
    return rewritten.with_strings(str(promql_parser.parse(rewritten.text).prettify()), quoted)
