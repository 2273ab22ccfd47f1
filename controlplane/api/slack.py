"""Clicks in Slack over HTTP: the request URL of a Slack app. Slack signs its requests; there is no token."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from controlplane.api.auth import GuardedRoute, client_of, public, takes_body
from controlplane.api.bodies import BodyBudget, Unanswered, read_body
from controlplane.api.services import ServicesDep
from controlplane.errors import NotFound
from controlplane.slack.door import MOST_BYTES

PATH = "/api/v1/slack/interactions"
BODIES_BYTES, SENDER_BYTES = 8 * MOST_BYTES, 4 * MOST_BYTES
"""Most bytes of all bodies and of one sender's: strangers send them, so they share no budget with other requests."""

router = APIRouter(route_class=GuardedRoute, tags=["slack"])
_DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "description": "Slack's form: the field payload is a JSON document.",
        "required": True,
        "content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}},
    }
}


def budget() -> BodyBudget:
    """Return the budget of the bodies of this route's requests."""
    return BodyBudget(BODIES_BYTES, SENDER_BYTES)


@router.post(PATH, response_class=Response, openapi_extra=_DOCUMENT)
@public
@takes_body(0)
async def interactions(request: Request, services: ServicesDep) -> Response:
    """Carry out a click on a button in Slack. The answer is empty; the person gets a message in Slack.

    Raises NotFound without a signing secret.
    """
    door = services.slack.door()
    if door is None:
        raise NotFound("clicks in Slack are not received over HTTP: set slack.signing_secret_env in fleet.yaml")
    # The headers are checked before the body is read: a stranger's request costs nothing then.
    stamp = door.stamp(request.headers, services.clock.now())
    bodies: BodyBudget = request.app.state.slack_bodies
    with bodies.of(client_of(request)) as hold:
        body = await read_body(request.scope, request.receive, MOST_BYTES, hold)
        if body is None:
            return Unanswered()
        await door.take(stamp, body, services.clock.now())
    return Response(status_code=200)
