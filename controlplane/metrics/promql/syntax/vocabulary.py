"""The names of PromQL that Prometheus 3 knows and this engine does not, and why. What it does is in its tables."""

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
"""Functions of native histograms alone; on samples that are numbers they yield nothing in Prometheus."""

REMOVED_FUNCTIONS = {"holt_winters": "double_exponential_smoothing"}
"""Functions that Prometheus 2 had, and what Prometheus 3 calls them."""

FILL_MODIFIERS = frozenset({"fill", "fill_left", "fill_right"})
"""Experimental modifiers of binary operations, for what is missing on a side."""


def refuse_unsupported(expr: str) -> None:
    """Raise QueryError(bad_data) for what this engine does not have; as names of metrics such words are fine.

    Rules may use it where another server evaluates them, which is why it is no matter of parsing.
    """
    tokens = tokenize(expr)
    durations = of_durations(tokens)
    for number, token in enumerate(tokens[:-1]):
        if number in durations:
            continue
        after = tokens[number + 1].text.lower()
        # After @, start() and end() are no functions.
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
    """Return why a function is not supported, None where nothing is known against it."""
    if function in EXPERIMENTAL_FUNCTIONS:
        return f'function "{function}" is experimental in Prometheus 3, and not supported'
    if function in NATIVE_HISTOGRAM_FUNCTIONS:
        return f'function "{function}" is of native histograms, which are not supported; use histogram_quantile'
    if function in REMOVED_FUNCTIONS:
        new = REMOVED_FUNCTIONS[function]
        return f'function "{function}" is gone from Prometheus 3, where {new} is experimental, and not supported'
    return None
