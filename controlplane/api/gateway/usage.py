"""Usage: gateways post what their journals hold, people read the sums."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires, takes_body
from controlplane.api.models import NAME
from controlplane.api.operations import Instant
from controlplane.api.services import Services, ServicesDep
from controlplane.config.durations import instant_seconds
from controlplane.cost.reckoning import month_of
from controlplane.fleet.usage import BY, UsageView, money_of, usage_csv, usage_view
from controlplane.fleet.view import View, instant
from controlplane.store.usage import DAY_S, UsageBatch, UsageSums

router = APIRouter(route_class=GuardedRoute, tags=["gateways"])

MOST_ROWS = 2_000
"""Most rows of one batch."""
BATCH_BYTES = 4 * 2**20
"""Largest batch: 2,000 rows whose names have their greatest length."""
Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Position = Annotated[int, Field(ge=1, le=2**53, strict=True)]
Seconds = Annotated[float, Field(ge=0, le=1e12, strict=True, allow_inf_nan=False)]
PLAIN = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, Field(max_length=256, pattern=PLAIN)]


class UsageRow(BaseModel):
    """Sums of one minute. `at` is its start in unix seconds."""

    model_config = ConfigDict(extra="ignore")

    at: Annotated[int, Field(ge=0, le=2**33, strict=True)]
    tenant: Name
    key_id: Name
    model: Name
    version: Name
    outcome: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")]
    requests: Count
    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count
    estimated: Count
    duration_s: Seconds
    first_s: Seconds
    streams: Count


class UsageRequest(BaseModel):
    """The sums of some successive records of one journal. Fields that this release does not know are ignored."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1]
    gateway: Annotated[str, Field(pattern=NAME)]
    journal: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,64}$")]
    first: Position
    """Sequence number of the first record."""
    length: Position
    """Sequence numbers from the first to the last record, damaged ones included."""
    rows: Annotated[list[UsageRow], Field(max_length=MOST_ROWS)]


class UsageTaken(BaseModel):
    """The sequence number up to which the journal is in the sums.

    It is below the batch's last one when a part of the batch was there before: nothing was added, and the gateway sends
    the rest.
    """

    acknowledged: int


class UsageList(BaseModel):
    """Usage by the words of `by`. Times are first, then the largest number of tokens."""

    since: str
    until: str
    by: tuple[str, ...]
    items: tuple[UsageView, ...]
    truncated: bool
    """Whether there are more rows."""


class KeyUsageView(View):
    """The usage of an API key on this day and in this month, both in UTC."""

    key: str
    last_used_at: str
    """Start of the newest minute, hour or day with usage, as it is kept."""
    day_tokens: int
    day_usd: float | None
    """null: no model of the usage had a price. 0: there is no usage."""
    month_requests: int
    month_tokens: int
    month_usd: float | None


class KeyUsageList(BaseModel):
    """Usage by key. A key that was never used is not among them."""

    items: tuple[KeyUsageView, ...]


def _words(text: str) -> str:
    words = text.split(",") if text else []
    if unknown := [word for word in words if word not in BY]:
        raise ValueError(f"{unknown[0]!r} is not one of {', '.join(BY)}")
    if len(set(words)) < len(words):
        raise ValueError("names each word once")
    return text


BY_SCHEMA = {"type": "string", "pattern": f"^({'|'.join(BY)})?$", "description": f"Of {', '.join(BY)}; with commas."}
By = Annotated[str, Query(max_length=64), AfterValidator(_words), WithJsonSchema(BY_SCHEMA)]
CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "The usage, as JSON or CSV"}
}


@router.post("/cp/v1/gateways/usage")
@requires(Role.GATEWAY)
@takes_body(BATCH_BYTES)
def take(services: ServicesDep, sent: UsageRequest) -> UsageTaken:
    """Add usage to the sums, each record once."""
    rows = [UsageSums(**row.model_dump()) for row in sent.rows]
    batch = UsageBatch(sent.gateway, sent.journal, sent.first, sent.first + sent.length - 1, rows)
    return UsageTaken(acknowledged=services.usage.take(batch, money_of(services.config())))


@router.get("/cp/v1/usage", response_model=UsageList, response_model_exclude_unset=True, responses=CSV)
@requires(Role.VIEWER)
def usage(
    services: ServicesDep,
    by: By = "tenant,model",
    since: Instant = "7d",
    until: Instant | None = None,
    format: Literal["json", "csv"] = "json",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    tenant: Annotated[str | None, Query(max_length=256, pattern=PLAIN)] = None,
    key: Annotated[str | None, Query(max_length=256, pattern=PLAIN)] = None,
    model: Annotated[str | None, Query(max_length=256, pattern=PLAIN)] = None,
) -> Any:
    """Return the usage of a time by tenant, key, model, version, outcome, hour or day.

    `tenant`, `key` and `model` keep the usage of one.
    """
    now = services.clock.now()
    start = instant_seconds(since, now)
    end = now if until is None else instant_seconds(until, now)
    words = tuple(by.split(",")) if by else ()
    asked = {"tenant": tenant, "key": key, "model": model}
    only = {name: value for name, value in asked.items() if value is not None}
    found = services.usage.report(words, start, end, limit, only)
    views = tuple(usage_view(row, words) for row in found.rows)
    if format == "csv":
        headers = {
            "Content-Disposition": 'attachment; filename="usage.csv"',
            "X-Truncated": str(found.truncated).lower(),
        }
        return Response(usage_csv(views, words), media_type="text/csv; charset=utf-8", headers=headers)
    return UsageList(since=instant(start), until=instant(end), by=words, items=views, truncated=found.truncated)


@router.get("/cp/v1/usage/keys")
@requires(Role.VIEWER)
def usage_of_keys(services: ServicesDep) -> KeyUsageList:
    """Return when each API key was last used, and what it used today and this month."""
    now = services.clock.now()
    day = _of_keys(services, now // DAY_S * DAY_S, now)
    month = _of_keys(services, month_of(now).start, now)
    return KeyUsageList(
        items=tuple(
            KeyUsageView(
                key=key,
                last_used_at=instant(at),
                day_tokens=_tokens(day.get(key)),
                day_usd=_usd(day.get(key)),
                month_requests=month[key]["requests"] if key in month else 0,
                month_tokens=_tokens(month.get(key)),
                month_usd=_usd(month.get(key)),
            )
            for key, at in sorted(services.usage.last_used().items())
            if key
        )
    )


def _of_keys(services: Services, since: float, until: float) -> dict[str, dict[str, Any]]:
    """Return the usage of every key, without a limit: a key that is left out would look unused."""
    return {row["key"]: row for row in services.usage.report(("key",), since, until, None).rows}


def _tokens(row: dict[str, Any] | None) -> int:
    return 0 if row is None else row["prompt_tokens"] + row["completion_tokens"]


def _usd(row: dict[str, Any] | None) -> float | None:
    if row is None:
        return 0.0
    return None if row["usd"] is None else round(row["usd"], 6)
