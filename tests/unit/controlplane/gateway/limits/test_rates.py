"""Requests and tokens a minute, and requests at once: timelines with exact numbers."""

from __future__ import annotations

import pytest

from controlplane.gateway.desired.document import LimitSpec
from controlplane.gateway.limits.reservation import HeldReservation
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Caller
from tests.fakes.limits import World, document, used


def test_a_minute_s_requests_pass_at_once_and_then_come_back_one_by_one() -> None:
    world = World(document(LimitSpec(requests_per_minute=60)))
    assert world.admitted() == 60
    world.sleep(0.999)
    assert world.admitted() == 0
    world.sleep(0.001)
    assert world.admitted() == 1
    world.sleep(30.0)
    assert world.admitted() == 30
    world.sleep(3600.0)
    assert world.admitted() == 60


def test_all_workers_share_one_bucket() -> None:
    world = World(document(LimitSpec(requests_per_minute=10)), workers=4)
    admitted = [isinstance(world.ask(worker=number % 4), HeldReservation) for number in range(12)]
    assert admitted == [True] * 10 + [False] * 2


def test_refused_requests_are_not_counted() -> None:
    world = World(document(LimitSpec(requests_per_minute=60)))
    assert world.admitted() == 60
    for _ in range(500):
        world.refused()
    world.sleep(1.0)
    assert world.admitted() == 1


def test_the_retry_of_a_refusal_is_the_instant_at_which_it_passes() -> None:
    world = World(document(LimitSpec(requests_per_minute=20)))
    assert world.admitted() == 20
    refusal = world.refused()
    assert refusal.kind is RefusalKind.RATE_LIMITED and refusal.code == "rate_limit_exceeded"
    assert refusal.retry_after_s == 3.0
    world.sleep(2.9)
    assert world.admitted() == 0
    world.sleep(0.1)
    assert world.admitted() == 1


def test_retry_after_is_a_whole_second_at_least() -> None:
    world = World(document(LimitSpec(requests_per_minute=6000)))
    assert world.admitted() == 6000
    assert world.refused().retry_after_s == 1.0


def test_five_parallel_requests_reserve_what_they_may_use() -> None:
    """100 tokens a minute, and five requests that may use 60 each: one passes, not five."""
    world = World(document(LimitSpec(tokens_per_minute=100)))
    found = [world.ask(10, 50, worker=number % 2) for number in range(5)]
    assert [isinstance(one, HeldReservation) for one in found] == [True, False, False, False, False]


def test_settling_returns_what_was_not_used() -> None:
    world = World(document(LimitSpec(tokens_per_minute=100)))
    first = world.admit(10, 80)
    assert isinstance(world.ask(10, 10), Refusal)
    first.settle(used(10, 20), world.now)
    world.admit(10, 60)
    assert isinstance(world.ask(1, 0), Refusal)


def test_more_than_was_reserved_becomes_a_debt() -> None:
    world = World(document(LimitSpec(tokens_per_minute=60)))
    world.admit(10, 0).settle(used(100, 80), world.now)
    assert world.refused(1).retry_after_s == 121.0
    world.sleep(120.9)
    world.refused(1)
    world.sleep(0.1)
    world.admit(1)


def test_a_request_of_more_than_a_minute_s_tokens_waits_for_an_unused_bucket() -> None:
    world = World(document(LimitSpec(tokens_per_minute=60)))
    world.admit(30)
    assert world.refused(200).retry_after_s == 30.0
    world.sleep(30.0)
    world.admit(200)
    assert world.refused(1).retry_after_s == 141.0


def test_unknown_usage_keeps_the_estimate() -> None:
    world = World(document(LimitSpec(tokens_per_minute=100)))
    world.admit(30, 40).settle(used(None, None), world.now)
    assert isinstance(world.ask(31), Refusal)
    world.admit(30)


def test_a_client_that_leaves_is_charged_what_was_seen() -> None:
    world = World(document(LimitSpec(tokens_per_minute=100)))
    world.admit(30, 70).settle(used(None, 5), world.now)
    assert isinstance(world.ask(66), Refusal)
    world.admit(65)


def test_an_answer_without_a_limit_is_estimated_from_recent_answers() -> None:
    world = World(document(LimitSpec(tokens_per_minute=1000)))
    first = world.admit(10, None)
    assert isinstance(world.ask(734), Refusal)  # 10 + 257 are held
    first.settle(used(10, 50), world.now)
    world.admit(10, None)  # 51 for the answer
    assert isinstance(world.ask(880), Refusal)
    world.admit(879)


def test_cancel_gives_everything_back() -> None:
    limits = LimitSpec(requests_per_minute=1, tokens_per_minute=100, concurrent=1, daily_tokens=100, daily_usd=1.0)
    world = World(document(limits, limits, limits))
    for _ in range(5):
        world.admit(50, 50).cancel(world.now)
    world.admit(50, 50)


def test_only_the_first_settlement_counts() -> None:
    world = World(document(LimitSpec(tokens_per_minute=100, concurrent=2)))
    held = world.admit(10, 40)
    held.settle(used(10, 0), world.now)
    held.settle(used(0, 0), world.now)
    held.cancel(world.now)
    held.settle(used(1000, 1000), world.now)
    world.admit(90)
    assert isinstance(world.ask(1), Refusal)


def test_requests_at_once() -> None:
    world = World(document(LimitSpec(concurrent=3)), workers=3)
    opened = [world.admit(worker=number) for number in range(3)]
    refusal = world.refused(worker=1)
    assert refusal.kind is RefusalKind.RATE_LIMITED and refusal.retry_after_s == 1.0
    opened[2].settle(used(1, 1), world.now)
    world.admit(worker=0)
    world.refused(worker=2)


@pytest.mark.parametrize("which", ["key", "tenant", "model"])
def test_the_tightest_of_the_three_decides_and_the_others_keep_nothing(which: str) -> None:
    wide, tight = LimitSpec(requests_per_minute=100), LimitSpec(requests_per_minute=2)
    world = World(document(*(tight if name == which else wide for name in ("key", "tenant", "model"))))
    assert world.admitted() == 2
    for _ in range(200):
        world.refused()
    world.apply(document(wide, wide, wide, revision="2"))
    assert world.admitted() == 98


def test_limits_of_other_owners_are_untouched() -> None:
    world = World(document(LimitSpec(requests_per_minute=1), of_tenant=LimitSpec(requests_per_minute=3)))
    assert world.admitted() == 1
    other = Caller("other", "acme")
    assert isinstance(world.ask(caller=other), HeldReservation)
    assert isinstance(world.ask(caller=other), HeldReservation)
    refusal = world.ask(caller=other)
    assert isinstance(refusal, Refusal) and "Tenant acme" in refusal.message
    assert isinstance(world.ask(caller=Caller("x", "globex")), HeldReservation)


def test_without_limits_everything_passes_and_nothing_is_told() -> None:
    world = World(document())
    held = world.admit(10**9, 10**9)
    assert held.lines() == b""
    held.settle(used(1, 1), world.now)


def test_a_changed_limit_keeps_what_was_used() -> None:
    world = World(document(LimitSpec(requests_per_minute=10)))
    assert world.admitted() == 10
    world.apply(document(LimitSpec(requests_per_minute=15), revision="2"))
    assert world.admitted() == 5
    world.apply(document(LimitSpec(requests_per_minute=5), revision="3"))
    world.sleep(119.0)  # 15 drain to below 5 at 5 a minute
    assert world.admitted() == 0
    world.sleep(13.0)
    assert world.admitted() == 1


def test_a_request_that_was_open_while_limits_changed_is_settled_once() -> None:
    world = World(document(LimitSpec(concurrent=1, tokens_per_minute=100)))
    held = world.admit(10, 90)
    world.apply(document(LimitSpec(concurrent=1, tokens_per_minute=200), revision="2"))
    world.refused()
    held.settle(used(10, 10), world.now)
    world.admit(180)


def test_a_clock_of_another_worker_that_is_a_little_ahead_does_no_harm() -> None:
    world = World(document(LimitSpec(requests_per_minute=60)))
    world.now += 0.01
    world.admit(worker=1)
    world.now -= 0.01
    assert world.admitted() == 58  # 1.01 are used then, and 59 more are one hundredth too many
    world.sleep(60.0)
    assert world.admitted() == 60
