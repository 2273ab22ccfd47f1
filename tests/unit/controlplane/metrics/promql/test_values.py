from __future__ import annotations

import json
import math

import numpy as np
import pytest

from alerts.interfaces import VectorSample
from controlplane.metrics.promql.values import Matrix, MatrixSeries, Scalar, StringValue, Vector, format_value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (1.5, "1.5"),
        (-2.25, "-2.25"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e15, "1000000000000000"),
        (123456789012345680.0, "123456789012345680"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.25e300, "1.25e+300"),
        (0.000001, "0.000001"),
        (1e-7, "1e-07"),
        (-1.5e-10, "-1.5e-10"),
        (5e-324, "5e-324"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_numbers_are_written_as_prometheus_does(value: float, shown: str) -> None:
    assert format_value(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1e21, "1000000000000000000000"), (1e-7, "0.0000001"), (2.5, "2.5"), (math.nan, "NaN")]
)
def test_label_values_never_have_an_exponent(value: float, shown: str) -> None:
    assert format_value(value, exponents=False) == shown


def test_json_of_every_kind() -> None:
    assert Scalar(1.5, 2).to_prometheus_json() == {"resultType": "scalar", "result": [1.5, "2"]}
    assert Scalar(1, 1e-7).to_prometheus_json()["result"] == [1, "0.0000001"]  # a vector's would be 1e-07
    assert StringValue(3, "x").to_prometheus_json() == {"resultType": "string", "result": [3, "x"]}
    vector = Vector(1.0, [VectorSample((("__name__", "up"), ("job", "a")), math.nan)])
    assert json.dumps(vector.to_prometheus_json()) == (
        '{"resultType": "vector", "result": [{"metric": {"__name__": "up", "job": "a"}, "value": [1, "NaN"]}]}'
    )
    matrix = Matrix([MatrixSeries((("job", "a"),), np.array([0.0, 1.5]), np.array([1.0, math.inf]))])
    assert json.dumps(matrix.to_prometheus_json()) == (
        '{"resultType": "matrix", "result": [{"metric": {"job": "a"}, "values": [[0, "1"], [1.5, "+Inf"]]}]}'
    )
    assert Matrix([]).to_prometheus_json() == {"resultType": "matrix", "result": []}
