"""The table of PromQL functions."""

from __future__ import annotations

from controlplane.errors import QueryError
from controlplane.metrics.promql.context import Function
from controlplane.metrics.promql.functions.histogram import HISTOGRAM_FUNCTIONS
from controlplane.metrics.promql.functions.instant import MATH_FUNCTIONS
from controlplane.metrics.promql.functions.labels import LABEL_FUNCTIONS
from controlplane.metrics.promql.functions.over_time import WINDOW_FUNCTIONS
from controlplane.metrics.promql.functions.rate import RATE_FUNCTIONS

FUNCTIONS: dict[str, Function] = {
    **RATE_FUNCTIONS,
    **WINDOW_FUNCTIONS,
    **MATH_FUNCTIONS,
    **LABEL_FUNCTIONS,
    **HISTOGRAM_FUNCTIONS,
}


def function_named(name: str) -> Function:
    """Return the function with this name. Raises QueryError(bad_data) when it is not supported."""
    function = FUNCTIONS.get(name)
    if function is None:
        raise QueryError("bad_data", f"function {name!r} is not supported")
    return function
