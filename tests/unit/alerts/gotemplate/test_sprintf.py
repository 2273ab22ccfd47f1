"""Go's fmt. The expected texts are from Go 1.21. tests/contract compares many more texts with promtool's."""

from __future__ import annotations

import math

import pytest

from alerts.gotemplate.sprintf import go_value, sprintf


def test_values_print_as_in_go() -> None:
    assert [go_value(v) for v in (True, "x", {"b": "2", "a": "1"})] == ["true", "x", "map[a:1 b:2]"]


@pytest.mark.parametrize(
    ("pattern", "args", "text"),
    [
        ("%.2f", (1.005,), "1.00"),
        ("%5.1f|", (2.0,), "  2.0|"),
        ("%-6s|", ("ab",), "ab    |"),
        ("%s of %v, 100%%", ("a", 2.0), "a of 2, 100%"),
        ("%q", ("a",), '"a"'),
        ("%.1s", ("abc",), "a"),
        ("%e", (12345.678,), "1.234568e+04"),
        ("%f", (math.inf,), "+Inf"),
        ("%+f|% f|%08.1f", (math.inf,) * 3, "+Inf| Inf|    +Inf"),
        ("%f|%+f|% f", (math.nan,) * 3, "NaN|+NaN| NaN"),
        ("% f|%08.1f", (-math.inf,) * 2, "-Inf|    -Inf"),
    ],
)
def test_printf(pattern: str, args: tuple[object, ...], text: str) -> None:
    assert sprintf(pattern, args) == text
