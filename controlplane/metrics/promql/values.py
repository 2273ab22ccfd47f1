"""Results of queries, in the format of Prometheus's HTTP API."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from alerts.interfaces import VectorSample
from collectors.samples import FloatArray, Labels

PLAIN_BELOW = 1e21
"""Upper bound of numbers written without an exponent. Source: Go's encoding/json, which uses [1e-6, 1e21)."""


def format_value(value: float, *, exponents: bool = True) -> str:
    """Return the shortest decimal that reads back as `value`, as Prometheus writes sample values.

    `exponents=False` never writes an exponent: the format of scalars, and of label values (count_values).
    """
    shortest = repr(float(value))
    if "e" not in shortest and "n" not in shortest:
        return shortest.removesuffix(".0")
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if exponents and not 1e-6 <= abs(value) < PLAIN_BELOW:
        mantissa, _, exponent = f"{Decimal(shortest).normalize():e}".partition("e")
        return f"{mantissa}e{exponent[0]}{exponent[1:]:0>2}"
    plain = f"{Decimal(shortest):f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def format_time(seconds: float) -> float | int:
    """Return unix seconds rounded to milliseconds, as an integer if they are whole: 5.0 → 5."""
    ms = round(seconds * 1000)
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


@dataclass(frozen=True)
class Scalar:
    """A number at one time (unix seconds)."""

    at: float
    value: float

    def to_prometheus_json(self) -> dict[str, Any]:
        """Return the `data` of the HTTP API's answer."""
        return {"resultType": "scalar", "result": [format_time(self.at), format_value(self.value, exponents=False)]}


@dataclass(frozen=True)
class StringValue:
    """A string at one time (unix seconds)."""

    at: float
    value: str

    def to_prometheus_json(self) -> dict[str, Any]:
        """Return the `data` of the HTTP API's answer."""
        return {"resultType": "string", "result": [format_time(self.at), self.value]}


@dataclass(frozen=True)
class Vector:
    """One value of each series at one time (unix seconds). Labels may have `__name__`."""

    at: float
    samples: Sequence[VectorSample]

    def to_prometheus_json(self) -> dict[str, Any]:
        """Return the `data` of the HTTP API's answer."""
        at = format_time(self.at)
        result = [{"metric": dict(s.labels), "value": [at, format_value(s.value)]} for s in self.samples]
        return {"resultType": "vector", "result": result}


class MatrixSeries(NamedTuple):
    """Samples of one series: `times` in unix seconds and `values`, both `[samples]`, in time order."""

    labels: Labels
    times: FloatArray
    values: FloatArray


@dataclass(frozen=True)
class Matrix:
    """Samples of many series. A step without a value has no sample."""

    series: Sequence[MatrixSeries]

    def to_prometheus_json(self) -> dict[str, Any]:
        """Return the `data` of the HTTP API's answer."""
        moments = _Moments()
        result = [
            {
                "metric": dict(series.labels),
                "values": [
                    [moments[time], format_value(value)]
                    for time, value in zip(series.times.tolist(), series.values.tolist(), strict=True)
                ],
            }
            for series in self.series
        ]
        return {"resultType": "matrix", "result": result}


class _Moments(dict[float, float | int]):
    """A cache of `format_time`: most series have the same steps."""

    def __missing__(self, seconds: float) -> float | int:
        shown = self[seconds] = format_time(seconds)
        return shown


QueryValue = Scalar | StringValue | Vector | Matrix
"""Result of an instant query. A range query yields a Matrix."""
