"""Calls are spaced out, and a burst goes at once."""

from __future__ import annotations

from alerts.notify.pace import Bucket


class Time:
    """Monotonic seconds that pass only while somebody waits."""

    def __init__(self) -> None:
        self.at = 50.0

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


async def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    time = Time()
    bucket = Bucket("call", 2.0, 3, time.now, time.sleep)
    at = []
    for _ in range(6):
        await bucket.take()
        at.append(time.at)
    assert at == [50, 50, 50, 52, 54, 56]


async def test_a_rest_fills_the_bucket_again_but_not_beyond_its_burst() -> None:
    time = Time()
    bucket = Bucket("call", 2.0, 3, time.now, time.sleep)
    for _ in range(3):
        await bucket.take()
    time.at += 2.0
    await bucket.take()
    assert time.at == 52
    time.at += 1000.0
    at = []
    for _ in range(4):
        await bucket.take()
        at.append(time.at)
    assert at == [1052, 1052, 1052, 1054]
