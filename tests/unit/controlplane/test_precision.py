from __future__ import annotations

import pytest

from controlplane.precision import counted, digits_of


@pytest.mark.parametrize(("samples", "digits"), [(1.0, 1), (19.9, 1), (20.0, 2), (99.9, 2), (100.0, 3), (None, 3)])
def test_digits_come_from_how_many_requests_are_behind(samples: float | None, digits: int) -> None:
    assert digits_of(samples) == digits


@pytest.mark.parametrize(
    ("samples", "source", "text"),
    [
        (10.2, "probe", "10 probes"),
        (1.0, "probe", "1 probe"),
        (7.0, "engine", "7 engine requests"),
        (0.0, None, "0 requests"),
    ],
)
def test_requests_are_counted_with_whose_they_are(samples: float, source: str | None, text: str) -> None:
    assert counted(samples, source) == text
