"""Budgets of the day and the month: timelines with exact numbers."""

from __future__ import annotations

from controlplane.gateway.desired.document import LimitSpec
from controlplane.gateway.limits.reservation import HeldReservation
from controlplane.gateway.refusal import Refusal, RefusalKind
from tests.fakes.limits import NOON, World, document, told, used

HOUR = 3600.0
DAY = 24 * HOUR


def test_a_day_s_tokens_are_spent_and_come_back_at_midnight_utc() -> None:
    world = World(document(LimitSpec(daily_tokens=100)))
    world.admit(10, 50).settle(used(10, 30), world.now)
    world.admit(60, 0).settle(used(60, 0), world.now)
    refusal = world.refused(1)
    assert refusal.kind is RefusalKind.BUDGET_SPENT and refusal.code == "insufficient_quota"
    assert refusal.retry_after_s == 12 * HOUR
    world.sleep(12 * HOUR - 1)
    world.refused(1)
    world.sleep(1)
    world.admit(100)


def test_a_month_ends_with_its_last_day() -> None:
    world = World(document(LimitSpec(monthly_tokens=100)))
    world.admit(100).settle(used(100, 0), world.now)
    assert world.refused(1).retry_after_s == 3.5 * DAY  # from noon of 27 November
    world.sleep(3.5 * DAY - 1)
    world.refused(1)
    world.sleep(1)
    world.admit(100).settle(used(100, 0), world.now)
    assert world.refused(1).retry_after_s == 31 * DAY


def test_money_counts_each_kind_of_token_at_its_price() -> None:
    """$1 a million of the prompt, $0.50 where it is cached, $4 of the answer."""
    world = World(document(LimitSpec(daily_usd=0.001)))  # 1,000 millionths
    world.admit(100, 100).settle(used(100, 100, cached=60), world.now)  # 40 + 30 + 400
    assert isinstance(world.ask(531), Refusal)
    world.admit(530).settle(used(530, 0), world.now)
    assert world.refused(1).kind is RefusalKind.BUDGET_SPENT


def test_open_requests_hold_their_estimate_and_a_retry_helps_then() -> None:
    world = World(document(LimitSpec(daily_tokens=100)), workers=2)
    held = world.admit(10, 80, worker=0)
    refusal = world.refused(20, worker=1)
    assert refusal.kind is RefusalKind.RATE_LIMITED and refusal.retry_after_s == 1.0
    held.settle(used(10, 10), world.now)
    world.admit(80, worker=1)


def test_parallel_requests_never_pass_a_budget() -> None:
    world = World(document(LimitSpec(daily_tokens=100)), workers=4)
    found = [world.ask(10, 20, worker=number % 4) for number in range(40)]
    admitted = [one for one in found if isinstance(one, HeldReservation)]
    assert len(admitted) == 3
    for one in admitted:
        one.settle(used(10, 20), world.now)
    assert world.refused(11).kind is RefusalKind.BUDGET_SPENT
    world.admit(10)


def test_cancelled_and_refused_requests_spend_nothing() -> None:
    world = World(document(LimitSpec(daily_tokens=100, daily_usd=0.0001)))
    for _ in range(50):
        world.admit(100).cancel(world.now)
        world.refused(101)
    world.admit(100)


def test_a_request_without_tokens_passes_a_spent_budget() -> None:
    world = World(document(LimitSpec(daily_tokens=100)))
    world.admit(100).settle(used(100, 0), world.now)
    world.admit(0, 0)


def test_day_and_month_are_counted_apart() -> None:
    world = World(document(LimitSpec(daily_tokens=100, monthly_tokens=250)))
    for _ in range(2):
        world.admit(100).settle(used(100, 0), world.now)
        world.sleep(DAY)
    world.refused(51)
    world.admit(50).settle(used(50, 0), world.now)
    refusal = world.refused(1)
    assert "this month" in refusal.message and refusal.retry_after_s == 1.5 * DAY


def test_a_stream_over_midnight_counts_in_the_day_in_which_it_ends() -> None:
    world = World(document(LimitSpec(daily_tokens=100)), unix=NOON + 12 * HOUR - 10)
    held = world.admit(10, 80)
    world.sleep(20)
    assert isinstance(world.ask(11), Refusal)
    held.settle(used(10, 60), world.now)
    world.refused(31)
    world.admit(30)


def test_what_was_settled_before_midnight_does_not_count_in_a_new_day_that_begins_silently() -> None:
    world = World(document(LimitSpec(daily_tokens=100)))
    world.admit(100).settle(used(100, 0), world.now)
    world.sleep(13 * HOUR)
    world.admit(100)


def test_a_clock_that_is_set_back_never_empties_a_budget() -> None:
    world = World(document(LimitSpec(daily_tokens=100, monthly_tokens=1000)), unix=NOON + 13 * HOUR)
    world.admit(100).settle(used(100, 0), world.now)
    world.unix -= 2 * HOUR
    world.refused(1)
    world.unix -= 400 * DAY
    world.refused(1)


def test_a_clock_that_is_not_set_yet_keeps_the_period() -> None:
    world = World(document(LimitSpec(daily_tokens=100)))
    world.admit(100).settle(used(100, 0), world.now)
    world.sleep(1.0)
    world.unix = 10.0
    world.refused(1)
    world.unix = NOON + 60
    world.refused(1)
    world.unix = NOON + DAY
    world.admit(100)


def test_the_headers_show_a_budget_where_less_is_left_of_it() -> None:
    world = World(document(LimitSpec(tokens_per_minute=1000, daily_tokens=500)))
    fields = told(world.admit(100))
    assert fields["x-ratelimit-limit-tokens"] == "500"
    assert fields["x-ratelimit-remaining-tokens"] == "400"
    assert fields["x-ratelimit-reset-tokens"] == "12h0m0s"
