"""Rate limits of a hosted API, from the headers of its answers. Pure.

OpenAI, Azure OpenAI and most APIs of their kind send `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`,
Anthropic sends `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`. A name
without a kind (`x-ratelimit-limit`) is about requests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

_KINDS = "input-tokens|output-tokens|requests|tokens"
_NAMES = re.compile(
    rf"x-ratelimit-(?P<field>limit|remaining|reset)(?:-(?P<kind>{_KINDS}))?"
    rf"|anthropic-ratelimit-(?P<its_kind>{_KINDS})-(?P<its_field>limit|remaining|reset)"
)
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)
_GO_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII
)
_UNIT_SECONDS = (3600.0, 60.0, 1.0, 0.001)
_MAX_TEXT = 40
_EPOCH_FROM = 1e9
"""A `reset` from here on is a moment in unix seconds, and below it a number of seconds."""


@dataclass(frozen=True)
class RateLimit:
    """One limit as an answer states it. None: the answer does not tell."""

    kind: str
    """requests, tokens, input_tokens or output_tokens."""
    limit: float | None = None
    """How many the API's window allows, which is a minute at most APIs."""
    remaining: float | None = None
    reset_s: float | None = None
    """Seconds until the limit is whole again."""


def rate_limits(headers: Mapping[str, str], now: float) -> tuple[RateLimit, ...]:
    """Return the limits of an answer by kind, in alphabetic order. `now` is in unix seconds.

    A value that is neither a number nor a time is left out.
    """
    found: dict[str, RateLimit] = {}
    for name, value in headers.items():
        match = _NAMES.fullmatch(name.lower())
        if not match:
            continue
        kind = (match["kind"] or match["its_kind"] or "requests").replace("-", "_")
        known = found.get(kind, RateLimit(kind))
        field = match["field"] or match["its_field"]
        text = value.strip()[:_MAX_TEXT]
        if field == "reset":
            found[kind] = replace(known, reset_s=_until(text, now))
        elif _NUMBER.fullmatch(text):
            amount = float(text)
            found[kind] = replace(known, limit=amount) if field == "limit" else replace(known, remaining=amount)
    return tuple(found[kind] for kind in sorted(found))


def _until(text: str, now: float) -> float | None:
    """Return the seconds until a reset: of a number, a duration in Go's form, or an RFC 3339 time."""
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        return max(0.0, seconds - now) if seconds >= _EPOCH_FROM else seconds
    if text and (match := _GO_DURATION.fullmatch(text)):
        return sum(float(n) * unit for n, unit in zip(match.groups(), _UNIT_SECONDS, strict=True) if n)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
