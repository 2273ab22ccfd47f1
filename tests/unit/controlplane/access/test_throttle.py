"""Five failures a minute, then silence until the first of them is a minute old."""

from __future__ import annotations

import pytest

from controlplane.access import SignInThrottle, Throttled


def test_the_sixth_attempt_waits_until_the_first_is_a_minute_old() -> None:
    throttle = SignInThrottle(limit=5, window_s=60)
    for second in range(5):
        throttle.check("10.0.0.1", second)
        throttle.failed("10.0.0.1", second)

    with pytest.raises(Throttled, match="try again in 55 s") as raised:
        throttle.check("10.0.0.1", 5.0)
    assert raised.value.retry_after_s == 55.0
    throttle.check("10.0.0.2", 5.0)
    throttle.check("10.0.0.1", 60.0)


def test_signing_in_forgets_the_failures() -> None:
    throttle = SignInThrottle(limit=2, window_s=60)
    throttle.failed("a", 0.0)
    throttle.failed("a", 1.0)
    throttle.succeeded("a")
    throttle.check("a", 2.0)
    throttle.succeeded("never seen")


def test_memory_is_bounded_by_forgetting_who_failed_longest_ago() -> None:
    throttle = SignInThrottle(limit=1, window_s=60, max_clients=2)
    throttle.failed("a", 0.0)
    throttle.failed("b", 1.0)
    throttle.failed("a", 2.0)
    throttle.failed("c", 3.0)

    throttle.check("b", 4.0)
    for client in ("a", "c"):
        with pytest.raises(Throttled):
            throttle.check(client, 4.0)
