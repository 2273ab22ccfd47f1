"""Number formats of Go and Prometheus. The expected texts are from Go 1.21 and Prometheus 2.42."""

from __future__ import annotations

import math

import pytest

from alerts.gotemplate.goformat import (
    go_float,
    humanize,
    humanize1024,
    humanize_duration,
    humanize_percentage,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (91.0, "91"),
        (0.1, "0.1"),
        (0.0, "0"),
        (-0.0, "-0"),
        (1 / 3, "0.3333333333333333"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (999999.5, "999999.5"),
        (1234567.891, "1.234567891e+06"),
        (1e20, "1e+20"),
        (1e21, "1e+21"),
        (1.25e300, "1.25e+300"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_floats_print_as_in_go(value: float, text: str) -> None:
    assert go_float(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (1234567, "1.235M"), (0.00123, "1.23m"), (-5000, "-5k"), (1e30, "1e+06Y"), (1e-30, "1e-06y"),
     (math.inf, "+Inf"), ("1000", "1k")],
)  # fmt: skip
def test_humanize(value: object, text: str) -> None:
    assert humanize(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1024, "1ki"), (1048576, "1Mi"), (85899345920, "80Gi"), (0.5, "0.5")]
)
def test_humanize1024(value: float, text: str) -> None:
    assert humanize1024(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0s"), (0.0042, "4.2ms"), (1, "1s"), (2.5, "2.5s"), (61, "1m 1s"), (3600, "1h 0m 0s"), (90061, "1d 1h 1m 1s"),
     (-61, "-1m 1s"), (math.nan, "NaN")],
)  # fmt: skip
def test_humanize_duration(value: float, text: str) -> None:
    assert humanize_duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "1.23%"), (1.3, "130%"), (0, "0%"), (0.123456, "12.35%"), (math.nan, "NaN%")]
)
def test_humanize_percentage(value: float, text: str) -> None:
    assert humanize_percentage(value) == text


def test_a_text_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="'abc' is not a number"):
        humanize("abc")
