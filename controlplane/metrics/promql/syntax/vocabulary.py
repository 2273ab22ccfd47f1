"""The names of PromQL that Prometheus 3 supports and this engine does not, with the reasons.

The names that this engine supports are in its tables of functions and operators.
"""

from __future__ import annotations

from controlplane.errors import QueryError
from promql.durations import of_durations
from promql.tokens import place, tokenize

EXPERIMENTAL_FUNCTIONS = frozenset(
    {
        "double_exponential_smoothing",
        "end",
        "histogram_quantiles",
        "info",
        "integral",
        "mad_over_time",
        "max_of",
        "min_of",
        "range",
        "sort_by_label",
        "sort_by_label_desc",
        "start",
        "step",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
        "ts_of_max_over_time",
        "ts_of_min_over_time",
    }
)
"""Functions behind `--enable-feature=promql-experimental-functions` (Prometheus's docs/querying/functions.md)."""

EXPERIMENTAL_AGGREGATIONS = frozenset({"limitk", "limit_ratio"})
"""Aggregation operators behind the same flag."""

NATIVE_HISTOGRAM_FUNCTIONS = frozenset(
    {"histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"}
)
"""Functions of native histograms alone. In Prometheus they yield nothing for float samples."""

REMOVED_FUNCTIONS = {"holt_winters": "double_exponential_smoothing"}
"""Functions of Prometheus 2, with their names in Prometheus 3."""

FILL_MODIFIERS = frozenset({"fill", "fill_left", "fill_right"})
"""Experimental modifiers of binary operations: values for series that are missing on one side."""


def refuse_unsupported(expr: str) -> None:
    """Raise QueryError(bad_data) if an expression uses a function or an operator that this engine does not support.

    These words are allowed as names of metrics. This check is not part of the parser, because rules may use the words
    where another server evaluates them.
    """
    tokens = tokenize(expr)
    durations = of_durations(tokens)
    for number, token in enumerate(tokens[:-1]):
        if number in durations:
            continue
        after = tokens[number + 1].text.lower()
        # After @, start() and end() are not function calls.
        if token.kind == "word" and after in ("(", "by", "without") and (not number or tokens[number - 1].text != "@"):
            reason = _reason(token.text, after)
            if reason is not None:
                raise QueryError("bad_data", f"{place(expr, token.start)}: parse error: {reason}")


def _reason(word: str, after: str) -> str | None:
    if word.lower() in EXPERIMENTAL_AGGREGATIONS:
        return f"{word.lower()} is experimental in Prometheus 3, and not supported"
    if after != "(":
        return None
    if word.lower() in FILL_MODIFIERS:
        return f"the {word.lower()} modifier is experimental in Prometheus 3, and not supported"
    return refusal(word)


def refusal(function: str) -> str | None:
    """Return why a function is not supported, or None if it is not in these tables."""
    if function in EXPERIMENTAL_FUNCTIONS:
        return f'function "{function}" is experimental in Prometheus 3, and not supported'
    if function in NATIVE_HISTOGRAM_FUNCTIONS:
        return f'function "{function}" is of native histograms, which are not supported; use histogram_quantile'
    if function in REMOVED_FUNCTIONS:
        new = REMOVED_FUNCTIONS[function]
        return f'function "{function}" is gone from Prometheus 3, where {new} is experimental, and not supported'
    return None
