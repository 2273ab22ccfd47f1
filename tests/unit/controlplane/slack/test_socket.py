"""Socket Mode against a server of its real protocol: clicks arrive, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from alerts.errors import DeliveryFailed
from controlplane.errors import MalformedRequest, Unavailable
from controlplane.slack.socket import MOST_ASKED_S, MOST_WAIT_S, SocketMode
from tests.fakes.slack import FakeSlack, running
from tests.fakes.slack_app import APP_TOKEN, Clicked, SlackApp
from tests.patience import until


class Listener:
    """A SocketMode whose waits are recorded and end at once, and the payloads that it handed on."""

    def __init__(self, slack: FakeSlack, token: str = APP_TOKEN) -> None:
        self.waits: list[float] = []
        self.got: list[Any] = []
        self.error: Exception | None = None
        self.token = token
        self.mode = SocketMode(self._token, self._handle, slack.url, sleep=self._sleep)

    def _token(self) -> str:
        if not self.token:
            raise DeliveryFailed("slack: environment variable A is not set or empty")
        return self.token

    async def _handle(self, payload: Any) -> None:
        self.got.append(payload)
        if self.error:
            raise self.error

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(slack: FakeSlack, token: str = APP_TOKEN) -> AsyncIterator[tuple[SlackApp, Listener]]:
    listener = Listener(slack, token)
    task = asyncio.create_task(listener.mode.run())
    try:
        yield slack.app, listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def waited(listener: Listener, count: int) -> None:
    await until(lambda: len(listener.waits) >= count)


async def test_an_envelope_is_handed_on_and_acknowledged() -> None:
    async with running() as slack, listening(slack) as (app, listener):
        await app.until(lambda: len(app.sockets) == 1)
        assert await app.envelope({"type": "block_actions"}, "e-7") == Clicked(acknowledged=True)
        assert (app.acknowledged, listener.got) == (["e-7"], [{"type": "block_actions"}])
        assert await app.envelope({}, "e-8", kind="events_api") == Clicked(acknowledged=True)
        assert len(listener.got) == 1, "another kind of envelope is acknowledged and ignored"
        assert listener.mode.connections == 1
    assert app.sockets == []


async def test_a_new_connection_is_open_before_an_announced_end_and_both_deliver() -> None:
    async with running() as slack, listening(slack) as (app, listener):
        await app.until(lambda: len(app.sockets) == 1)
        for count, reason in ((2, "warning"), (3, "refresh_requested")):
            old = app.sockets[-1]
            await old.send_json({"type": "disconnect", "reason": reason})
            await app.until(lambda count=count: len(app.sockets) == count)  # type: ignore[misc]
        first = app.sockets[0]
        await first.send_json({"envelope_id": "late", "type": "interactive", "payload": {"n": 1}})
        await app.until(lambda: "late" in app.acknowledged)
        assert await app.envelope({"n": 2}) == Clicked(acknowledged=True)
        await first.close()
        assert listener.got == [{"n": 1}, {"n": 2}]
        assert app.opened == 3, "the end of a replaced connection opens no other"


async def test_a_connection_that_is_cut_is_replaced() -> None:
    async with running() as slack, listening(slack) as (app, listener):
        for number in range(1, 4):
            await app.until(lambda number=number: app.opened == number and len(app.sockets) == 1)  # type: ignore[misc]
            assert await app.envelope({"n": number}) == Clicked(acknowledged=True)
            app.cut()
        await app.until(lambda: app.opened == 4 and len(app.sockets) == 1)
        assert [payload["n"] for payload in listener.got] == [1, 2, 3]
        assert all(0 < wait <= MOST_WAIT_S for wait in listener.waits), "connections that end soon are not hammered"
        assert listener.waits[2] > listener.waits[0] / 2, "the waits grow"


@pytest.mark.parametrize(
    ("fault", "words", "wait"),
    [
        ("429:7", "rate limited", 7.0),
        ("429:99999", "rate limited", MOST_ASKED_S),
        ("invalid_auth", "invalid_auth (set a current app-level token", MOST_WAIT_S),
        ("500", "HTTP 500", None),
        ("502-text", "HTTP 502", None),
        ("garbage", "is not JSON", None),
        ("text", "is not JSON", None),
        ("internal_error", "internal_error", None),
        ("lost", "ServerDisconnectedError", None),
    ],
)
async def test_an_address_that_cannot_be_had_is_asked_for_again(
    fault: str, words: str, wait: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as slack:
        slack.misbehave(fault, "apps.connections.open")
        async with listening(slack) as (app, listener):
            await app.until(lambda: len(app.sockets) == 1)
            assert await app.envelope({}) == Clicked(acknowledged=True)
    (first, *_) = listener.waits
    assert first == wait if wait is not None else 0 < first <= 1
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR and r.name.endswith("slack.socket")]
    assert line.startswith("slack: clicks cannot be received: ")
    assert words in line


async def test_wrong_and_missing_tokens_are_named_once_with_their_cure(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as slack, listening(slack, "xoxb-right") as (_, listener):
        await waited(listener, 3)
        listener.token = ""
        await waited(listener, 6)
        listener.token = APP_TOKEN
        await slack.app.until(lambda: len(slack.app.sockets) == 1)
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(lines) == 2
    assert "not_allowed_token_type (this is another kind of token" in lines[0]
    assert "environment variable A is not set or empty" in lines[1]
    assert set(listener.waits) == {MOST_WAIT_S}


@pytest.mark.parametrize(
    ("reason", "cure"),
    [
        ("link_disabled", "turn Socket Mode on in the app's settings"),
        ("too_many_websockets", "ten connections already, which is the limit: run fewer replicas"),
    ],
)
async def test_an_end_that_another_connection_does_not_cure_is_named(
    reason: str, cure: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as slack, listening(slack) as (app, listener):
        await app.until(lambda: len(app.sockets) == 1)
        await app.announce_end(reason)
        await waited(listener, 1)
        assert listener.waits[0] == MOST_WAIT_S
    assert cure in caplog.text


async def test_what_cannot_be_read_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as slack, listening(slack) as (app, listener):
        await app.until(lambda: len(app.sockets) == 1)
        for text in ("{not json", "[]", "null", "{}", '{"type": "what"}', '{"envelope_id": 7}', 10_000 * "["):
            await app.sockets[0].send_str(text)
        await app.sockets[0].send_bytes(b"\x00")
        await app.sockets[0].send_json({"type": "hello"})
        listener.error = MalformedRequest("user.id of the click is missing")
        assert await app.envelope({"n": 1}) == Clicked(acknowledged=True)
        assert listener.mode.connections == 1
    assert "a click cannot be read: user.id" in caplog.text


async def test_a_click_that_is_not_accepted_is_not_acknowledged_so_that_the_person_sees_an_error() -> None:
    async with running() as slack, listening(slack) as (app, listener):
        await app.until(lambda: len(app.sockets) == 1)
        listener.error = Unavailable("32 clicks are in work already")
        await app.sockets[0].send_json({"envelope_id": "refused", "type": "interactive", "payload": {}})
        await until(lambda: bool(listener.got))
        listener.error = None
        assert await app.envelope({}, "next") == Clicked(acknowledged=True)
        assert app.acknowledged == ["next"]


async def test_a_message_beyond_the_limit_ends_only_its_connection() -> None:
    async with running() as slack, listening(slack) as (app, _):
        await app.until(lambda: len(app.sockets) == 1)
        await app.sockets[0].send_str('"' + 2**21 * "x" + '"')
        await app.until(lambda: app.opened == 2 and len(app.sockets) == 1)
        assert await app.envelope({"n": 1}) == Clicked(acknowledged=True)


async def test_no_address_of_a_connection_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with running() as slack, listening(slack) as (app, listener):
            await app.until(lambda: len(app.sockets) == 1)
            app.refuses = True
            app.cut()
            await waited(listener, 3)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("controlplane", "slack_sdk"))]
    assert any("WSServerHandshakeError 408" in line for line in ours)
    assert not [line for line in ours if "ticket" in line or APP_TOKEN in line]
