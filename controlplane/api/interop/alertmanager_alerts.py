"""Alertmanager's API, the receiving half for alerts: `POST /api/v2/alerts`, to which Prometheus and `amtool` send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from alerts.received import RESOLVE_TIMEOUT_S, ReceivedAlert
from alerts.wire import annotations_of
from collectors.samples import labels_of
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires, takes_body
from controlplane.api.services import ServicesDep
from controlplane.errors import Unavailable

router = APIRouter(route_class=GuardedRoute, tags=["alertmanager"])

MOST_ALERTS = 5_000
"""Maximum number of alerts of a request. Chosen: Prometheus sends at most 256."""
BODY_BYTES = 8 * 2**20
"""Maximum size of a request's body."""
MOST_LABELS = 64
"""Maximum number of labels, and of annotations, of an alert. Chosen."""
NAME_LENGTH, LABEL_LENGTH, ANNOTATION_LENGTH, URL_LENGTH = 256, 4_096, 16_384, 8_192
"""Maximum numbers of characters of a name, a label's value, an annotation's text and a generator's address. Chosen."""
TOLD_FAULTS = 10
"""Maximum number of faults in an answer."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)")
_ZERO = "0001-01-01"
"""Date of Go's zero time, which senders write for a time that they leave out."""


def _texts(least: int, most: int) -> dict[str, Any]:
    """Return the schema of names with texts, for the API's document: the reader itself checks each alert alone."""
    no_nul = r"^[^\u0000]*$"
    return {
        "minProperties": least,
        "maxProperties": MOST_LABELS,
        "propertyNames": {"minLength": 1, "maxLength": NAME_LENGTH, "pattern": no_nul},
        "additionalProperties": {"type": "string", "maxLength": most, "pattern": no_nul},
    }


class PostableAlert(BaseModel):
    """An alert as a sender describes it. Times are RFC 3339; an empty or zero time counts as left out."""

    model_config = ConfigDict(populate_by_name=True)

    labels: Annotated[dict[str, str], Field(json_schema_extra=_texts(1, LABEL_LENGTH))]
    annotations: Annotated[dict[str, str], Field(json_schema_extra=_texts(0, ANNOTATION_LENGTH))] = {}
    starts_at: Annotated[str, Field(alias="startsAt", json_schema_extra={"format": "alert-start"})] = ""
    """Default: now; or the end, if that is given."""
    ends_at: Annotated[str, Field(alias="endsAt", json_schema_extra={"format": "alert-end"})] = ""
    """Default: five minutes from now."""
    generator_url: Annotated[str, Field(alias="generatorURL", json_schema_extra={"format": "alert-page"})] = ""


@router.post(
    "/api/v2/alerts",
    response_class=Response,
    responses={400: {"description": "Alerts that were refused, with reasons. The others are stored.", "model": str}},
)
@requires(Role.ALERT_SENDER)
@takes_body(BODY_BYTES)
async def post_alerts(
    services: ServicesDep, principal: PrincipalDep, alerts: Annotated[list[PostableAlert], Body(max_length=MOST_ALERTS)]
) -> Response:
    """Fire, update and end alerts of another sender; they are treated like alerts of own rules.

    Equal labels are one alert. It ends when its `endsAt` passes without a repetition. Alerts with a fault are refused
    with 400, and the other ones of the request are stored. Raises Unavailable when they cannot be stored durably.
    """
    desk = services.received
    if desk is None:
        raise Unavailable("this process takes no alerts of other senders")
    at = desk.shared_now
    taken: dict[str, ReceivedAlert] = {}
    faults: list[str] = []
    for number, alert in enumerate(alerts):
        try:
            received = read_alert(alert, principal.name, at)
        except ValueError as error:
            faults.append(f"alert {number}: {error}")
        else:
            taken[received.fingerprint] = received
    if taken:
        await desk.take(list(taken.values()))
    if faults:
        more = f"; and {len(faults) - TOLD_FAULTS} more" if len(faults) > TOLD_FAULTS else ""
        return JSONResponse("; ".join(faults[:TOLD_FAULTS]) + more, 400)
    return Response(status_code=200)


def read_alert(alert: PostableAlert, sender: str, at: float) -> ReceivedAlert:
    """Return an alert as received at unix second `at`, by Alertmanager's rules. Raises ValueError, in its words."""
    labels = {name: value for name, value in alert.labels.items() if value}
    if not labels:
        raise ValueError("at least one label pair required")
    _check("label", labels, LABEL_LENGTH)
    _check("annotation", alert.annotations, ANNOTATION_LENGTH)
    starts_at, ends_at = _time("startsAt", alert.starts_at), _time("endsAt", alert.ends_at)
    if starts_at is None:
        starts_at = at if ends_at is None else ends_at
    if ends_at is not None and ends_at < starts_at:
        raise ValueError("start time must be before end time")
    return ReceivedAlert(
        labels_of(labels),
        annotations_of(alert.annotations),
        sender,
        starts_at,
        at + RESOLVE_TIMEOUT_S if ends_at is None else ends_at,
        at,
        timeout=ends_at is None,
        generator_url=_text("generatorURL", alert.generator_url, URL_LENGTH),
    )


def _check(kind: str, pairs: Mapping[str, str], most: int) -> None:
    if len(pairs) > MOST_LABELS:
        raise ValueError(f"{len(pairs)} {kind}s, at most {MOST_LABELS} are accepted")
    for name, value in pairs.items():
        if not name:
            raise ValueError(f"invalid {kind} set: invalid name ''")
        _text(f"name of a {kind}", name, NAME_LENGTH)
        _text(f"{kind} {name[:NAME_LENGTH]}", value, most)


def _text(what: str, text: str, most: int) -> str:
    if len(text) > most:
        raise ValueError(f"{what} has {len(text)} characters, at most {most} are accepted")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{what} holds a character that cannot be stored")
    return text


def _time(name: str, text: str) -> float | None:
    if not text or text.startswith(_ZERO):
        return None
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        date, time, fraction, zone = found.groups(default="")
        seconds = datetime.fromisoformat(f"{date}T{time}{zone.upper().replace('Z', '+00:00')}").timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{name}: {text[:40]!r} is not a time of RFC 3339, such as 2026-01-31T12:00:00Z") from None
    return seconds + float(f"0.{fraction}" if fraction else 0)
