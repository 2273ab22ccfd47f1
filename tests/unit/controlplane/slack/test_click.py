"""Payloads of clicks, good and bad."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.errors import MalformedRequest
from controlplane.slack.click import Click, click_of, payload_of

BUTTON = {"type": "button", "action_id": "rollout.back", "value": "r-1", "action_ts": "1.5", "text": {}}
PAYLOAD: dict[str, Any] = {
    "type": "block_actions",
    "user": {"id": "U1A"},
    "actions": [BUTTON],
    "response_url": "https://hooks.slack.com/actions/T1/1/x",
}


def test_a_click_is_read() -> None:
    assert click_of(PAYLOAD) == Click("U1A", "rollout.back", "r-1", "1.5", "https://hooks.slack.com/actions/T1/1/x")
    assert click_of({k: v for k, v in PAYLOAD.items() if k != "response_url"}).response_url == ""  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "other",
    [
        None,
        [],
        "block_actions",
        {},
        {"type": "view_submission"},
        PAYLOAD | {"type": "shortcut"},
        PAYLOAD | {"actions": []},
        PAYLOAD | {"actions": "x"},
        PAYLOAD | {"actions": [3]},
        PAYLOAD | {"actions": [{"type": "static_select", "value": "x"}]},
        PAYLOAD | {"actions": [{"type": "button", "action_id": "Console", "url": "http://c", "action_ts": "1"}]},
    ],
)
def test_what_is_no_click_on_an_action_is_ignored(other: object) -> None:
    assert click_of(other) is None


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"user": None}, "user.id"),
        ({"user": {"id": "u1"}}, "user.id"),
        ({"user": {"id": "U" + 40 * "1"}}, "user.id"),
        ({"user": {"id": 3}}, "user.id"),
        ({"actions": [BUTTON | {"action_id": "Rollout Back"}]}, "action_id"),
        ({"actions": [BUTTON | {"action_id": None}]}, "action_id"),
        ({"actions": [BUTTON | {"value": "r" * 2001}]}, "value"),
        ({"actions": [BUTTON | {"value": "r\x00"}]}, "value"),
        ({"actions": [BUTTON | {"value": {}}]}, "value"),
        ({"actions": [BUTTON | {"action_ts": None}]}, "action_ts"),
        ({"response_url": 7}, "response_url"),
    ],
)
def test_a_click_without_a_part_is_refused_by_name(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedRequest, match=f"{field} of the click"):
        click_of(PAYLOAD | changed)


def test_the_form_of_a_request_holds_the_document() -> None:
    assert payload_of(b"payload=%7B%22type%22%3A%22x%22%7D") == {"type": "x"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload",
        b"other=1",
        b"payload=",
        b"payload=%7B",
        b"\xff\xfe",
        b"a=1&b=2&c=3&d=4&e=5",
        b"payload=" + 100_000 * b"[",
    ],
)
def test_another_body_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest, match="field payload"):
        payload_of(body)
