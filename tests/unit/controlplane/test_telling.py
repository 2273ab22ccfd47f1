from __future__ import annotations

import pytest

from controlplane.telling import counted, digits_of, happened


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


def test_a_transition_is_told_without_the_change_beside_it() -> None:
    assert happened("Hot went from firing to inactive: over after firing for 30s") == "over after firing for 30s"
    assert happened("Hot is unknown: no data from dcgm/n1") == "Hot is unknown: no data from dcgm/n1"
