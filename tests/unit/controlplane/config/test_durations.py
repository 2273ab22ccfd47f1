"""Parsing of instants."""

from __future__ import annotations

import pytest

from controlplane.config.durations import instant_seconds

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", NOW - 7200),
        ("1h30m", NOW - 5400),
        ("0s", NOW),
        ("1700000000", 1_700_000_000.0),
        ("1700000000.25", 1_700_000_000.25),
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000.0),
        ("2023-11-14T22:13:20", 1_700_000_000.0),
        ("2023-11-14 22:13:20", 1_700_000_000.0),
        ("2023-11-14", 1_699_920_000.0),
    ],
)
def test_an_instant_is_a_time_or_a_duration_ago(text: str, seconds: float) -> None:
    assert instant_seconds(text, NOW) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2h ago", "-2h", "12", "9" * 400, "2023-13-01", "٢h", "nan"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as 2026-11-28T08:43:55Z"):
        instant_seconds(text, NOW)


@pytest.mark.parametrize("text", ["999999999999", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
def test_an_instant_that_no_answer_can_write_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="within the years 1 to 9999 in UTC"):
        instant_seconds(text, NOW)
