"""Waits that grow."""

from __future__ import annotations

from controlplane.gateway.backoff import Backoff
from controlplane.gateway.process.restarts import Restarts


def test_waits_double_to_the_limit_and_begin_again_after_a_success() -> None:
    backoff = Backoff(0.5, 4.0, lambda: 1.0)
    assert [backoff.failed() for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    backoff.worked()
    assert backoff.failed() == 0.5


def test_jitter_takes_away_up_to_half() -> None:
    assert Backoff(8.0, 8.0, lambda: 0.0).failed() == 4.0
    assert Backoff(8.0, 8.0, lambda: 0.5).failed() == 6.0


def test_a_worker_that_lived_is_replaced_at_once_and_one_that_dies_at_once_later_and_later() -> None:
    restarts = Restarts()
    assert restarts.died(3600.0) == 0.0
    assert [restarts.died(0.3) for _ in range(9)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert (restarts.total, restarts.in_a_row) == (10, 9)
    assert restarts.died(5.0) == 0.0
    assert restarts.in_a_row == 0
    assert restarts.died(0.3) == 0.25
