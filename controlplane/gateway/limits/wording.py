"""Refusals of limits in words, and the `x-ratelimit-*` fields."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from controlplane.gateway.limits.memory import MILLION
from controlplane.gateway.limits.over import Kind, Over, Owner, Scope
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Caller, Fields

_WORDS = {
    Kind.REQUESTS: ("requests a minute", "have been sent in the last minute"),
    Kind.TOKENS: ("tokens a minute", "are used"),
    Kind.CONCURRENT: ("requests at once", "are open"),
}

_LINES = {
    unit: b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % ((unit,) * 3)
    for unit in (b"requests", b"tokens")
}
"""The header lines of a unit."""


def refuse(over: Over, caller: Caller, unix: float) -> Refusal:
    """Return the refusal of a request that would pass a limit. It says which limit, of whom, and when a retry helps."""
    retry_after_s = max(1, math.ceil(over.wait_s))
    if over.kind is Kind.BUDGET:
        return _refuse_budget(over, caller, unix, retry_after_s)
    unit, verb = _WORDS[over.kind]
    message = (
        f"{_who(over.owner, caller)} may have {_amount(over.limit)} {unit}{_part(over)}; {_used(over.used)} {verb}"
    )
    if over.kind is Kind.TOKENS:
        message += f", and this request may need {_used(over.need)}"
    message += f". Retry in {retry_after_s} s."
    return _rate_limited(message, over, retry_after_s)


def _refuse_budget(over: Over, caller: Caller, unix: float, retry_after_s: int) -> Refusal:
    period = "today" if over.budget.startswith("daily") else "this month"
    unit = _money if over.budget.endswith("_usd") else _tokens
    message = f"{_who(over.owner, caller)} has used {unit(over.used)} of {unit(over.limit)} {period} (UTC){_part(over)}"
    if not over.lasts:
        message += f"; open requests hold {unit(over.held)} more, and this request may need {unit(over.need)}"
        return _rate_limited(f"{message}. Retry in 1 s, when some of them have ended.", over, 1)
    end = datetime.fromtimestamp(unix + over.wait_s, UTC)
    if over.used < over.limit * over.share:
        message += (
            f", and this request may need {unit(over.need)}: a lower limit of the answer's tokens may let it pass"
        )
    message += f". The budget starts anew at {end:%Y-%m-%d %H:%M} UTC, in {duration(over.wait_s, 's')}"
    message += "; the same request is refused until then."
    return Refusal(RefusalKind.BUDGET_SPENT, message, code="insufficient_quota", retry_after_s=float(retry_after_s))


def _rate_limited(message: str, over: Over, retry_after_s: int) -> Refusal:
    fields: tuple[tuple[bytes, bytes], ...] = ()
    if over.kind in (Kind.REQUESTS, Kind.TOKENS):
        room = over.limit * over.share
        reset_s = over.used * 60.0 / room
        fields = tuple(quota(over.kind.value.encode(), room, room - over.used, reset_s))
    wait = float(retry_after_s)
    return Refusal(RefusalKind.RATE_LIMITED, message, code="rate_limit_exceeded", retry_after_s=wait, fields=fields)


def quota(unit: bytes, limit: float, left: float, reset_s: float) -> Fields:
    """Return `x-ratelimit-{limit,remaining,reset}-UNIT`. `unit` is requests or tokens."""
    return [
        (b"x-ratelimit-limit-" + unit, b"%d" % max(1, int(limit + 1e-6))),
        (b"x-ratelimit-remaining-" + unit, b"%d" % max(0, int(left + 1e-6))),
        (b"x-ratelimit-reset-" + unit, duration(reset_s).encode()),
    ]


def quota_lines(unit: bytes, limit: float, left: float, reset_s: float) -> bytes:
    """Return the same as header lines. Written out: this runs for each request, and fields take three times as long."""
    most = limit + 1e-6 if limit > 1.0 else 1
    rest = left + 1e-6 if left > 0.0 else 0
    reset = b"%dms" % math.ceil(reset_s * 1000.0 - 1e-6) if 0.0 <= reset_s < 1.0 else duration(reset_s).encode()
    return _LINES[unit] % (most, rest, reset)


def duration(seconds: float, finest: str = "ms") -> str:
    """Return a duration as OpenAI writes it: `12ms`, `1s`, `6m0s`, `3h4m0s`. Rounded up; `finest` is ms or s."""
    if finest == "ms" and seconds < 1.0:
        return f"{max(0, math.ceil(seconds * 1000.0 - 1e-6))}ms"
    minutes, whole = divmod(math.ceil(seconds - 1e-6), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{whole}s"
    return f"{minutes}m{whole}s" if minutes else f"{whole}s"


def _who(owner: Owner, caller: Caller) -> str:
    if owner.scope is Scope.KEY:
        return f"API key {owner.name} (tenant {caller.tenant})"
    if owner.scope is Scope.TENANT:
        return f"Tenant {owner.name}"
    return f"Model {owner.name}, for all callers together,"


def _part(over: Over) -> str:
    if over.share >= 1.0:
        return ""
    unit = _amount
    if over.kind is Kind.BUDGET:
        unit = _money if over.budget.endswith("_usd") else _tokens
    return f", of which this gateway gives out {unit(over.limit * over.share)}"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _used(value: float) -> str:
    return f"{math.ceil(value - 1e-6):,}"


def _tokens(value: float) -> str:
    return f"{_used(value)} tokens"


def _money(value: float) -> str:
    usd = value / MILLION
    return f"${usd:,.2f}" if usd >= 0.01 or usd == 0 else f"${usd:.6f}"
