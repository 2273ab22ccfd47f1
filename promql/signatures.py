"""The functions and aggregations of Prometheus 3: kinds of their arguments and of their results."""

from __future__ import annotations

from typing import NamedTuple

from promql.nodes import ValueKind


class Signature(NamedTuple):
    """A function's arguments and result, as Prometheus's `parse_query` shows them."""

    args: tuple[ValueKind, ...]
    variadic: int = 0
    """How often the last of `args` may be written. 0: exactly once. n > 0: 0 to n times. -1: any number of times."""
    returns: ValueKind = "vector"

    @property
    def least(self) -> int:
        """Least number of arguments."""
        return len(self.args) - (self.variadic != 0)

    @property
    def most(self) -> int | None:
        """Greatest number of arguments. None where there is no limit."""
        return None if self.variadic < 0 else len(self.args) + max(0, self.variadic - 1)


_VECTOR: tuple[ValueKind, ...] = ("vector",)
_MATRIX: tuple[ValueKind, ...] = ("matrix",)
_OF_A_VECTOR = """abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor histogram_avg histogram_count
histogram_stddev histogram_stdvar histogram_sum ln log10 log2 rad sgn sin sinh sort sort_desc sqrt tan tanh
timestamp"""
_OF_A_MATRIX = """absent_over_time avg_over_time changes count_over_time delta deriv first_over_time idelta increase
irate last_over_time mad_over_time max_over_time min_over_time present_over_time rate resets stddev_over_time
stdvar_over_time sum_over_time ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time"""
_OF_A_TIME = "day_of_month day_of_week day_of_year days_in_month hour minute month year"
_OF_NOTHING = "pi time step range start end"

FUNCTIONS: dict[str, Signature] = {
    **dict.fromkeys(_OF_A_VECTOR.split(), Signature(_VECTOR)),
    **dict.fromkeys(_OF_A_MATRIX.split(), Signature(_MATRIX)),
    **dict.fromkeys(_OF_A_TIME.split(), Signature(_VECTOR, 1)),
    **dict.fromkeys(_OF_NOTHING.split(), Signature((), 0, "scalar")),
    "clamp": Signature(("vector", "scalar", "scalar")),
    "clamp_max": Signature(("vector", "scalar")),
    "clamp_min": Signature(("vector", "scalar")),
    "double_exponential_smoothing": Signature(("matrix", "scalar", "scalar")),
    "histogram_fraction": Signature(("scalar", "scalar", "vector")),
    "histogram_quantile": Signature(("scalar", "vector")),
    "histogram_quantiles": Signature(("vector", "string", "scalar", "scalar"), 9),
    "info": Signature(("vector", "vector"), 1),
    "integral": Signature(("matrix", "scalar"), 1),
    "label_join": Signature(("vector", "string", "string", "string"), -1),
    "label_replace": Signature(("vector", "string", "string", "string", "string")),
    "max_of": Signature(("scalar", "scalar"), 0, "scalar"),
    "min_of": Signature(("scalar", "scalar"), 0, "scalar"),
    "predict_linear": Signature(("matrix", "scalar")),
    "quantile_over_time": Signature(("scalar", "matrix")),
    "round": Signature(("vector", "scalar"), 1),
    "scalar": Signature(_VECTOR, 0, "scalar"),
    "sort_by_label": Signature(("vector", "string"), -1),
    "sort_by_label_desc": Signature(("vector", "string"), -1),
    "vector": Signature(("scalar",)),
}

AGGREGATIONS: dict[str, ValueKind | None] = {
    **dict.fromkeys(("sum", "avg", "count", "min", "max", "group", "stddev", "stdvar")),
    **dict.fromkeys(("topk", "bottomk", "quantile", "limitk", "limit_ratio"), "scalar"),
    "count_values": "string",
}
"""Aggregation operators, and the kind of the parameter before the vector; None for those without."""
