"""Parsing of `Retry-After` headers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.http.retry_after import retry_after_s


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("9" * 400, None),
        ("999999999999", 999_999_999_999.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:01:40", 40.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("1.5", 1.5),
        ("inf", None),
        ("nan", None),
        ("1e9", None),
        ("Infinity", None),
        ("٣", None),
    ],
)
def test_retry_after(header: str, expected: float | None) -> None:
    assert retry_after_s(header, 60.0) == expected


@given(st.text())
def test_whatever_it_says_the_answer_is_a_wait_or_none(header: str) -> None:
    found = retry_after_s(header, 1e9)
    assert found is None or (math.isfinite(found) and found >= 0)
