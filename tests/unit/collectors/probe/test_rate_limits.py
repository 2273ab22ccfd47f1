"""Rate limits from the headers that hosted APIs send."""

from __future__ import annotations

import pytest

from collectors.probe.rate_limits import RateLimit, rate_limits

NOW = 1_700_000_000.0


def test_openais_headers() -> None:
    headers = {
        "X-RateLimit-Limit-Requests": "10000",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-remaining-tokens": "1999984",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-reset-tokens": "1m0.5s",
        "x-request-id": "req_1",
    }
    assert rate_limits(headers, NOW) == (
        RateLimit("requests", 10000, 9999, 0.006),
        RateLimit("tokens", 2000000, 1999984, 60.5),
    )


def test_anthropics_headers() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:21Z",
        "anthropic-ratelimit-input-tokens-limit": "30000",
        "anthropic-ratelimit-input-tokens-remaining": "29000",
        "anthropic-ratelimit-output-tokens-remaining": "8000",
    }
    assert rate_limits(headers, NOW) == (
        RateLimit("input_tokens", 30000, 29000),
        RateLimit("output_tokens", None, 8000),
        RateLimit("requests", 50, 49, 1.0),
    )


def test_names_without_a_kind_are_about_requests() -> None:
    headers = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "12", "x-ratelimit-reset": "30"}
    assert rate_limits(headers, NOW) == (RateLimit("requests", 60, 12, 30.0),)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("1h2m3s", 3723.0),
        ("1.5m", 90.0),
        ("1700000010", 10.0),
        ("1699999990", 0.0),
        ("2023-11-14T22:13:20", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("9" * 400, None),
        ("٣s", None),
        ("0001-01-01T00:00:00+14:00", 0.0),
    ],
)
def test_a_reset_is_a_duration_a_number_or_a_time(text: str, seconds: float | None) -> None:
    assert rate_limits({"x-ratelimit-reset-tokens": text}, NOW) == (RateLimit("tokens", reset_s=seconds),)


@pytest.mark.parametrize("text", ["", "many", "-1", "nan", "inf", "1e309", "9" * 400])
def test_what_is_no_number_is_left_out(text: str) -> None:
    assert rate_limits({"x-ratelimit-remaining-tokens": text}, NOW) == ()
