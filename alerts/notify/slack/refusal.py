"""Facts about an error that Slack's Web API answered. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from slack_sdk.errors import SlackApiError

from collectors.http.retry_after import retry_after_s


class SlackRefusal(NamedTuple):
    """An error as Slack answered it. Nothing in it is secret."""

    status: int | None
    """Status of HTTP."""
    code: str
    """Slack's word for the error, such as `invalid_auth`; "" for an answer without one."""
    data: Any
    """The answer's document, of any type."""
    is_limited: bool
    """Slack asks for fewer calls."""
    told: str
    """The header Retry-After; "" without one."""
    wait_s: float | None
    """Seconds that Slack asks to wait. None: the header says none."""


def refusal_of(error: SlackApiError, now: float) -> SlackRefusal:
    """Return the facts of an error. `now` is unix time, for a Retry-After that is a date."""
    response = error.response
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    data = getattr(response, "data", None)
    code = str(data.get("error", "")) if isinstance(data, dict) else ""
    told = str((getattr(response, "headers", None) or {}).get("Retry-After", ""))
    is_limited = status == 429 or code in ("ratelimited", "rate_limited")
    return SlackRefusal(status, code, data, is_limited, told, retry_after_s(told, now) if is_limited else None)
