from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0s", 0), ("500ms", 0.5), ("15s", 15), ("1h30m", 5400), ("1w2d", 9 * 86400), ("1y", 31_536_000)],
)
def test_prometheus_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "1.5h", "5 m", "m", "-5m", "30m1h", "1m1m", "5min"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 15s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (90, "1m30s"), (9 * 86400, "9d"), (14 * 86400, "2w"), (603000, "6d23h30m")],
)
def test_durations_are_written_as_prometheus_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=9 * 10**12))
def test_what_is_written_is_read_again(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds
