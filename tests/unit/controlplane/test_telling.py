from __future__ import annotations

import pytest

from controlplane.telling import change, counted, digits_of, happened, lasting


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


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "under a second"),
        (0.9, "under a second"),
        (1.0, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (90.0, "1 min 30 s"),
        (420.0, "7 min"),
        (599.6, "10 min"),
        (754.0, "13 min"),
        (3599.0, "1 h"),
        (5400.0, "1 h 30 min"),
        (86400.0, "24 h"),
        (200_000.0, "2 d 7 h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


@pytest.mark.parametrize(
    ("candidate", "stable", "unit", "words"),
    [
        (0.081, 0.0031, "ratio", "+7.8 points"),
        (0.5, 0.4, "seconds", "+25%"),
        (200.0, 250.0, "tokens", "-20%"),
        (4.15, 0.0387, "seconds", "x107"),
        (None, 0.4, "seconds", None),
        (0.5, None, "ratio", None),
        (0.5, 0.0, "seconds", None),
    ],
)
def test_a_change_is_in_points_or_percent_or_a_factor(
    candidate: float | None, stable: float | None, unit: str, words: str | None
) -> None:
    assert change(candidate, stable, unit) == words
