"""Usage: gateways post what their journals hold, people read the sums."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.models import NAME
from controlplane.api.operations import Instant
from controlplane.api.services import ServicesDep
from controlplane.config.durations import instant_seconds
from controlplane.errors import MalformedRequest
from controlplane.fleet.usage import BY, UsageView, money_of, usage_csv, usage_view
from controlplane.fleet.views import instant
from controlplane.store.usage import UsageBatch, UsageSums

router = APIRouter(route_class=GuardedRoute, tags=["gateways"])

MOST_ROWS = 10_000
"""Most rows of one batch. A gateway sends at most 5,000 records at once."""
Count = Annotated[int, Field(ge=0, le=2**53)]
Sequence = Annotated[int, Field(ge=1, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


class UsageRow(BaseModel):
    """Sums of one minute."""

    model_config = ConfigDict(extra="ignore")

    at: Annotated[int, Field(ge=0, le=2**33)]
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


Cell = Annotated[str, Field(max_length=256)] | int | float


class UsageRequest(BaseModel):
    """The sums of the records `first` to `last` of one journal. Each row has its values in the order of `fields`."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1]
    gateway: Annotated[str, Field(pattern=NAME)]
    journal: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,64}$")]
    first: Sequence
    last: Sequence
    fields: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=64)]
    rows: Annotated[list[Annotated[list[Cell], Field(max_length=64)]], Field(max_length=MOST_ROWS)]


class UsageTaken(BaseModel):
    """The sequence number up to which the journal is in the sums.

    It is below `last` when a part of the batch was there before: nothing was added, and the gateway sends the rest.
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
def take(services: ServicesDep, sent: UsageRequest) -> UsageTaken:
    """Add usage to the sums, each record once. Raises MalformedRequest when rows and fields do not fit."""
    if sent.last < sent.first:
        raise MalformedRequest("last is below first")
    rows = [UsageSums(**dict(_row(sent.fields, values))) for values in sent.rows]
    batch = UsageBatch(sent.gateway, sent.journal, sent.first, sent.last, rows)
    return UsageTaken(acknowledged=services.usage.take(batch, money_of(services.config())))


@router.get("/cp/v1/usage", response_model=UsageList, response_model_exclude_unset=True, responses=CSV)
@requires(Role.VIEWER)
def usage(
    services: ServicesDep,
    by: By = "tenant,model",
    since: Instant = "7d",
    until: Instant | None = None,
    format: Literal["json", "csv"] = "json",
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 1000,
) -> Any:
    """Return the usage of a time by tenant, key, model, version, outcome, hour or day."""
    now = services.clock.now()
    start = instant_seconds(since, now)
    end = now if until is None else instant_seconds(until, now)
    words = tuple(by.split(",")) if by else ()
    found = services.usage.report(words, start, end, limit)
    views = tuple(usage_view(row, words) for row in found.rows)
    if format == "csv":
        headers = {
            "Content-Disposition": 'attachment; filename="usage.csv"',
            "X-Truncated": str(found.truncated).lower(),
        }
        return Response(usage_csv(views, words), media_type="text/csv; charset=utf-8", headers=headers)
    return UsageList(since=instant(start), until=instant(end), by=words, items=views, truncated=found.truncated)


def _row(fields: list[str], values: list[Any]) -> UsageRow:
    if len(fields) != len(values):
        raise MalformedRequest(f"a row has {len(values)} values for {len(fields)} fields")
    try:
        return UsageRow.model_validate(dict(zip(fields, values, strict=True)))
    except ValidationError as error:
        fault = error.errors()[0]
        raise MalformedRequest(f"a row's {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
