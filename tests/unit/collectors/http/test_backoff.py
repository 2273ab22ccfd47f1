"""Delays between attempts, as exact numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.http.backoff import MAX_RETRY_AFTER_S, delay_s


def test_it_doubles_to_its_limit() -> None:
    assert [delay_s(n, 0.03, 5, 0.0, None) for n in (0, 1, 2, 7, 8, 1000)] == [0.03, 0.06, 0.12, 3.84, 5, 5]


@pytest.mark.parametrize(("wish", "waited"), [(None, 1.0), (0.0, 1.0), (7.0, 7.0), (1e9, MAX_RETRY_AFTER_S)], ids=str)
def test_a_servers_wish_lengthens_and_never_shortens(wish: float | None, waited: float) -> None:
    assert delay_s(0, 1.0, 5.0, 0.0, wish) == waited


@given(st.integers(0, 100), st.floats(0.001, 10), st.floats(0, 0.999))
def test_jitter_takes_up_to_half_away(attempt: int, minimum: float, jitter: float) -> None:
    whole = delay_s(attempt, minimum, 10, 0.0, None)
    assert whole / 2 <= delay_s(attempt, minimum, 10, jitter, None) <= whole
