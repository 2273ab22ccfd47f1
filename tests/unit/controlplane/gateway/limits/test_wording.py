from __future__ import annotations

import pytest

from controlplane.gateway.desired.document import LimitSpec
from controlplane.gateway.limits.wording import duration, quota, quota_lines
from controlplane.gateway.wire.fields import encoded
from tests.fakes.limits import World, document, told, used


def test_a_refusal_says_which_limit_of_whom_and_when() -> None:
    world = World(document(LimitSpec(requests_per_minute=60)))
    world.admitted()
    assert world.refused().message == (
        "API key ab12 (tenant acme) may have 60 requests a minute; 60 have been sent in the last minute. Retry in 1 s."
    )


def test_a_refusal_of_tokens_says_what_the_request_may_need() -> None:
    world = World(document(of_tenant=LimitSpec(tokens_per_minute=10_000)))
    world.admit(4000, 5000)
    assert world.refused(1000, 1000).message == (
        "Tenant acme may have 10,000 tokens a minute; 9,000 are used, and this request may need 2,000. Retry in 6 s."
    )


def test_a_refusal_of_concurrency() -> None:
    world = World(document(of_model=LimitSpec(concurrent=1)))
    world.admit()
    assert world.refused().message == (
        "Model chat, for all callers together, may have 1 requests at once; 1 are open. Retry in 1 s."
    )


def test_a_spent_budget_says_when_it_starts_anew_and_that_a_retry_does_not_help() -> None:
    world = World(document(LimitSpec(daily_tokens=100)))
    world.admit(100).settle(used(100, 0), world.now)
    assert world.refused(7).message == (
        "API key ab12 (tenant acme) has used 100 tokens of 100 tokens today (UTC). "
        "The budget starts anew at 2026-11-28 00:00 UTC, in 12h0m0s; the same request is refused until then."
    )


def test_a_budget_with_a_rest_says_that_a_smaller_request_may_pass() -> None:
    world = World(document(LimitSpec(monthly_usd=1.0)))
    world.admit(0, 200_000).settle(used(0, 200_000), world.now)
    assert world.refused(0, 100_000).message == (
        "API key ab12 (tenant acme) has used $0.80 of $1.00 this month (UTC), and this request may need $0.40: a lower "
        "limit of the answer's tokens may let it pass. The budget starts anew at 2026-12-01 00:00 UTC, in 84h0m0s; the "
        "same request is refused until then."
    )


def test_a_budget_that_open_requests_hold_says_so() -> None:
    world = World(document(LimitSpec(daily_tokens=100)))
    world.admit(10, 80)
    assert world.refused(20).message == (
        "API key ab12 (tenant acme) has used 0 tokens of 100 tokens today (UTC); open requests hold 90 tokens more, "
        "and this request may need 20 tokens. Retry in 1 s, when some of them have ended."
    )


def test_a_shared_limit_says_what_this_gateway_has_of_it() -> None:
    world = World(document(LimitSpec(requests_per_minute=60), revision="1", shares={"key/ab12": 0.25}))
    world.admitted()
    assert "60 requests a minute, of which this gateway gives out 15; 15 have been sent" in world.refused().message


def test_every_answer_names_the_tightest_limit() -> None:
    world = World(
        document(
            LimitSpec(requests_per_minute=60, tokens_per_minute=1000),
            LimitSpec(requests_per_minute=6000),
            LimitSpec(tokens_per_minute=600),
        )
    )
    assert told(world.admit(100)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "600",
        "x-ratelimit-remaining-tokens": "500",
        "x-ratelimit-reset-tokens": "10s",
    }


def test_the_fields_are_those_of_the_admission() -> None:
    world = World(document(LimitSpec(requests_per_minute=6000)))
    first = world.admit()
    world.admitted(100)
    fields = told(first)
    assert fields["x-ratelimit-remaining-requests"] == "5999"
    assert fields["x-ratelimit-reset-requests"] == "10ms"


def test_a_refusal_has_the_fields_of_its_limit() -> None:
    world = World(document(LimitSpec(requests_per_minute=60)))
    world.admitted()
    assert world.refused().fields == (
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"0"),
        (b"x-ratelimit-reset-requests", b"1m0s"),
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.012, "12ms"),
        (0.0121, "13ms"),
        (0.9999, "1000ms"),
        (1.0, "1s"),
        (1.2, "2s"),
        (59.0, "59s"),
        (60.0, "1m0s"),
        (90.5, "1m31s"),
        (3600.0, "1h0m0s"),
        (86_399.5, "24h0m0s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("limit", [0.3, 1.0, 60.0, 99.9999999])
@pytest.mark.parametrize("left", [-2.0, 0.0, 0.9999999, 7.5])
def test_answers_and_refusals_name_a_limit_alike(limit: float, left: float) -> None:
    assert quota_lines(b"tokens", limit, left, 61.0) == encoded(quota(b"tokens", limit, left, 61.0))
