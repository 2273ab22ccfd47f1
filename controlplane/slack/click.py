"""A click on a button, read from Slack's payload. Pure.

https://docs.slack.dev/reference/interaction-payloads/block_actions-payload
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from controlplane.errors import MalformedRequest

MOST_TEXT = 2000
"""Most characters of a button's value: Slack's own limit."""
_USER = re.compile(r"[UW][A-Z0-9]{1,30}")
_NAME = re.compile(r"[a-z][a-z.-]{0,60}")


@dataclass(frozen=True)
class Click:
    """One click on one button."""

    user: str
    """Slack's id of the person, such as U0123ABCD."""
    action: str
    value: str
    at: str
    """Slack's timestamp of the click. A repeated delivery of the click has the same."""
    response_url: str
    """Address for answers to this click; "" if Slack gave none."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Identity of the click, however and how often it is delivered."""
        return self.user, self.action, self.value, self.at


def payload_of(body: bytes) -> object:
    """Return the payload of an HTTP request's form. Raises MalformedRequest."""
    try:
        form = dict(parse_qsl(body.decode(), strict_parsing=True, max_num_fields=4))
        return json.loads(form["payload"])
    except (ValueError, KeyError, RecursionError) as error:
        raise MalformedRequest("the body is no form with a JSON document in the field payload") from error


def click_of(payload: object) -> Click | None:
    """Return the click of a payload. None: it is none that can act here, such as that of a link.

    Raises MalformedRequest for a click without its parts.
    """
    if not isinstance(payload, Mapping) or payload.get("type") != "block_actions":
        return None
    actions = payload.get("actions")
    action = actions[0] if isinstance(actions, list) and actions else None
    if not isinstance(action, Mapping) or action.get("type") != "button" or "value" not in action:
        return None
    user = payload.get("user")
    return Click(
        user=_text(user.get("id") if isinstance(user, Mapping) else None, "user.id", _USER),
        action=_text(action.get("action_id"), "action_id", _NAME),
        value=_text(action.get("value"), "value"),
        at=_text(action.get("action_ts"), "action_ts"),
        response_url=_text(payload.get("response_url", ""), "response_url"),
    )


def _text(value: Any, field: str, form: re.Pattern[str] | None = None) -> str:
    good = isinstance(value, str) and len(value) <= MOST_TEXT and value.isprintable()
    if not good or (form is not None and not form.fullmatch(value)):
        raise MalformedRequest(f"{field} of the click is missing or has another form")
    return str(value)
