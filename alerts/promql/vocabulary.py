"""The names of PromQL that Prometheus 3 knows and this engine does not, and why. What it does is in its tables."""

from __future__ import annotations

EXPERIMENTAL_FUNCTIONS = frozenset(
    {
        "double_exponential_smoothing",
        "end",
        "first_over_time",
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
"""Functions behind `--enable-feature=promql-experimental-functions` (Prometheus's docs/querying/functions.md), and
those that the parser takes for such."""

EXPERIMENTAL_AGGREGATIONS = frozenset({"limitk", "limit_ratio"})
"""Aggregation operators behind the same flag."""

NATIVE_HISTOGRAM_FUNCTIONS = frozenset(
    {"histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"}
)
"""Functions of native histograms alone; on samples that are numbers they yield nothing in Prometheus."""

REMOVED_FUNCTIONS = {"holt_winters": "double_exponential_smoothing"}
"""Functions that Prometheus 2 had, and what Prometheus 3 calls them."""

EXPERIMENTAL_WORDS = {
    "anchored": "the anchored modifier",
    "smoothed": "the smoothed modifier",
    "fill": "the fill modifier",
    "fill_left": "the fill_left modifier",
    "fill_right": "the fill_right modifier",
}
"""Keywords of extended range selectors and of binary operations that fill in what is missing."""


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
