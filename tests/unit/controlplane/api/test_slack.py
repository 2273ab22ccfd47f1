"""`POST /api/v1/slack/interactions`: only Slack's requests act, and a stranger's cost nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from alerts.errors import DeliveryFailed
from controlplane.access.roles import Role
from controlplane.slack.actions import Action, Actions, Person
from controlplane.slack.door import MOST_BYTES, SlackDoor
from controlplane.slack.interactions import Interactions
from controlplane.slack.signature import Signatures
from tests.fakes.slack_app import SECRET, signature_headers
from tests.unit.controlplane.api.conftest import NOW

PATH = "/api/v1/slack/interactions"
CLICK = {
    "type": "block_actions",
    "user": {"id": "U1"},
    "actions": [{"type": "button", "action_id": "a.b", "value": "v", "action_ts": "1.5"}],
}


class Silent:
    async def say(self, url: str, text: str) -> None: ...


class Desk:
    """A door with one action."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.secret = SECRET
        action = Action("a.b", Role.OPERATOR, self._run)
        interactions = Interactions(Actions([action]), Silent())  # type: ignore[arg-type]
        interactions.use({"U1": Person("ana", Role.OPERATOR)})
        self.door = SlackDoor(Signatures(self._secret), interactions)

    def _secret(self) -> str:
        if not self.secret:
            raise DeliveryFailed("slack: environment variable SIGNS is not set or empty")
        return self.secret

    async def _run(self, person: Person, value: str) -> str:
        self.done.append(f"{person.name} {value}")
        return "Done."


@pytest.fixture
def desk(rig: Any) -> Desk:
    found = Desk()
    rig.slack = found.door
    return found


@asynccontextmanager
async def asking(rig: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with rig.client(None) as client:
        yield client


def form(payload: object = CLICK) -> bytes:
    return urlencode({"payload": json.dumps(payload)}).encode()


async def post(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await client.post(PATH, content=body, headers=signature_headers(body, NOW) | headers)


async def test_a_signed_click_acts_once_and_a_replay_is_refused(rig: Any, desk: Desk) -> None:
    async with asking(rig) as client:
        answer = await post(client, form())
        assert (answer.status_code, answer.content) == (200, b"")
        assert desk.done == ["ana v"]
        again = await post(client, form())
        assert (again.status_code, again.json()["errorType"]) == (401, "unauthorized")
        assert "received before" in again.json()["error"]
    assert desk.done == ["ana v"]


async def test_a_stranger_is_refused_before_the_body_is_read(rig: Any, desk: Desk) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield 1000 * b"x"

    good = signature_headers(b"", NOW)
    for headers in (
        {},
        good | {"X-Slack-Signature": "v0=short"},
        signature_headers(b"", NOW - 301),
        signature_headers(b"", NOW + 301),
    ):
        async with asking(rig) as client:
            answer = await client.post(PATH, content=endless(), headers=headers)
            assert answer.status_code == 401
    assert read == 0
    async with asking(rig) as client:
        assert (await client.post(PATH, content=endless(), headers=good)).status_code == 413
    assert read <= MOST_BYTES // 1000 + 2, "a body is read up to the limit, whatever it claims"
    assert desk.done == []


async def test_a_declared_size_beyond_the_limit_is_refused_unread(rig: Any, desk: Desk) -> None:
    body = form() + MOST_BYTES * b"x"
    async with asking(rig) as client:
        assert (await post(client, body)).status_code == 413


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (form({"type": "view_submission"}), 200),
        (form(CLICK | {"user": {"id": "?"}}), 400),
        (b"payload=nonsense", 400),
        (b"", 400),
    ],
)
async def test_other_signed_requests_do_nothing(rig: Any, desk: Desk, body: bytes, status: int) -> None:
    async with asking(rig) as client:
        assert (await post(client, body)).status_code == status
    assert desk.done == []


async def test_a_wrong_secret_and_a_secret_that_is_away_accept_nothing_and_name_no_place(
    rig: Any, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async with asking(rig) as client:
        desk.secret = "other"
        assert (await post(client, form())).status_code == 401
        rig.clock.time += 61
        desk.secret = ""
        answer = await post(client, form())
    assert answer.status_code == 503
    assert "SIGNS" not in answer.text
    assert "SIGNS is not set or empty" in caplog.text
    assert desk.done == []


async def test_without_a_signing_secret_there_is_nothing(rig: Any) -> None:
    async with asking(rig) as client:
        answer = await post(client, form())
    assert (answer.status_code, "slack.signing_secret_env" in answer.text) == (404, True)


async def test_refusals_of_strangers_do_not_fill_the_log(
    rig: Any, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async with asking(rig) as client:
        for _ in range(50):
            await client.post(PATH, content=b"x")
    assert caplog.text.count("was refused") == 1


@pytest.fixture(autouse=True)
def _no_leftovers(rig: Any) -> Iterator[None]:
    yield
    assert rig.slack is None or rig.app().state.slack_bodies.held == 0
