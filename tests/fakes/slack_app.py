"""The interactive half of the fake Slack: people who click, over signed HTTP requests or over Socket Mode.

The protocols are Slack's: `apps.connections.open`, single-use addresses, hello, envelopes with acknowledgements,
announced and sudden disconnects, response URLs. Every part can misbehave.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType, web

from tests.patience import HANG_S

APP_TOKEN, SECRET = "xapp-right", "8f742231b10e8888abcd99yyyzzz85a5"


@dataclass(frozen=True)
class Clicked:
    """What came of one click."""

    acknowledged: bool
    """The person saw no error: an acknowledgement, or HTTP 200."""
    status: int = 0
    """HTTP status; 0 for Socket Mode."""


@dataclass
class SlackApp:
    """One app's settings and connections. `request_url` is where clicks go over HTTP."""

    base: str = ""
    request_url: str = ""
    now: Callable[[], float] = time.time
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    """Connections that were greeted and are open, oldest first."""
    greets: bool = True
    refuses: bool = False
    """Whether every new connection is refused, as with an address that was used before."""
    opened: int = 0
    """Addresses of connections that were given out."""
    answers: list[tuple[str, str]] = field(default_factory=list)
    """(person, text) of the messages that only that person sees."""
    answer_faults: list[str] = field(default_factory=list)
    """Of the next posts to response URLs: `429:SECONDS`, `500`, `404` or `hang`."""
    acknowledged: list[str] = field(default_factory=list)
    """Envelope ids, in order."""
    sent: list[dict[str, Any]] = field(default_factory=list)
    """Every envelope that was sent."""
    _tickets: set[str] = field(default_factory=set)
    _transports: list[Any] = field(default_factory=list)
    _urls: dict[str, str] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def routes(self, app: web.Application) -> None:
        """Serve the WebSocket and the response URLs."""
        app.router.add_get("/link", self._link)
        app.router.add_post("/actions/{id}", self._answered)

    def connections_open(self, authorization: str) -> dict[str, Any]:
        """Answer apps.connections.open."""
        if authorization != f"Bearer {APP_TOKEN}":
            wrong = authorization.startswith("Bearer xoxb-")
            return {"ok": False, "error": "not_allowed_token_type" if wrong else "invalid_auth"}
        self.opened += 1
        ticket = f"t{self.opened}"
        self._tickets.add(ticket)
        return {"ok": True, "url": f"{self.base.replace('http', 'ws', 1)}/link?ticket={ticket}"}

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition on this object holds."""
        async with asyncio.timeout(HANG_S), self._changed:
            await self._changed.wait_for(holds)

    async def announce_end(self, reason: str = "warning") -> None:
        """Announce on every connection that it will end."""
        for socket in tuple(self.sockets):
            await socket.send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "fake"}})

    def cut(self) -> None:
        """Cut every connection without a word."""
        for transport in self._transports:
            transport.abort()
        self._transports.clear()

    def payload(self, user: str, message: dict[str, Any], action: str, *, at: str = "") -> dict[str, Any]:
        """Return the payload of a click on the button of an action in a message. The button must be there."""
        found = [e for b in message.get("blocks", ()) if b["type"] == "actions" for e in b["elements"]]
        button = next(e for e in found if e["action_id"] == action)
        number = str(next(self._ids))
        self._urls[number] = user
        pressed = {k: button[k] for k in ("type", "action_id", "text", "value", "style") if k in button}
        return {
            "type": "block_actions",
            "user": {"id": user, "username": user.lower(), "team_id": "T1"},
            "api_app_id": "A1",
            "container": {"type": "message", "message_ts": message["ts"], "channel_id": message["channel"]},
            "team": {"id": "T1", "domain": "w"},
            "channel": {"id": message["channel"], "name": "ops"},
            "message": {k: message[k] for k in ("ts", "text", "blocks")},
            "response_url": f"{self.base}/actions/{number}",
            "trigger_id": f"{number}.trigger",
            "actions": [pressed | {"block_id": "b", "action_ts": at or f"{self.now():.3f}{number:0>6}"}],
        }

    async def click(self, user: str, message: dict[str, Any], action: str, *, way: str = "socket") -> Clicked:
        """Let a person click. Return when Slack knows whether it shows an error."""
        return await self.deliver(self.payload(user, message, action), way=way)

    async def deliver(self, payload: dict[str, Any], *, way: str = "socket", envelope_id: str = "") -> Clicked:
        """Deliver a payload by one of the ways."""
        return await (self.post(payload) if way == "http" else self.envelope(payload, envelope_id))

    async def envelope(self, payload: Any, envelope_id: str = "", kind: str = "interactive") -> Clicked:
        """Send an envelope on the newest connection, and wait for its acknowledgement or the connection's end."""
        id_ = envelope_id or f"e{next(self._ids)}"
        envelope = {"envelope_id": id_, "type": kind, "accepts_response_payload": False, "payload": payload}
        self.sent.append(envelope)
        before = self.acknowledged.count(id_)
        if not self.sockets:
            return Clicked(acknowledged=False)
        socket = self.sockets[-1]
        await socket.send_json(envelope)
        await self.until(lambda: self.acknowledged.count(id_) > before or socket not in self.sockets)
        return Clicked(self.acknowledged.count(id_) > before)

    async def post(self, payload: Any, *, secret: str = SECRET, headers: dict[str, str] | None = None) -> Clicked:
        """Send a payload as a signed HTTP request."""
        body = urlencode({"payload": json.dumps(payload)}).encode()
        signed = signature_headers(body, self.now(), secret) | (headers or {})
        async with aiohttp.ClientSession() as session, session.post(self.request_url, data=body, headers=signed) as got:
            return Clicked(got.status == 200, got.status)

    async def _link(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if self.refuses or ticket not in self._tickets:
            return web.Response(status=408, text="the address was used before")
        self._tickets.remove(ticket)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._transports.append(request.transport)
        if self.greets:
            await socket.send_json({"type": "hello", "num_connections": len(self.sockets) + 1, "debug_info": {}})
            await self._note(lambda: self.sockets.append(socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    id_ = json.loads(message.data)["envelope_id"]
                    await self._note(lambda id_=id_: self.acknowledged.append(id_))  # type: ignore[misc]
        finally:
            if socket in self.sockets:
                await self._note(lambda: self.sockets.remove(socket))
        return socket

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        content = await request.json()
        fault = self.answer_faults.pop(0) if self.answer_faults else ""
        if fault == "hang":
            await asyncio.Event().wait()
        if fault:
            status, _, wait = fault.partition(":")
            return web.Response(status=int(status), headers={"Retry-After": wait} if wait else {})
        assert content["response_type"] == "ephemeral"
        user = self._urls[request.match_info["id"]]
        await self._note(lambda: self.answers.append((user, content["text"])))
        return web.Response(text="ok")

    async def _note(self, change: Callable[[], object]) -> None:
        async with self._changed:
            change()
            self._changed.notify_all()


def signature_headers(body: bytes, at: float, secret: str = SECRET) -> dict[str, str]:
    """Return the headers with which Slack signs a body at unix second `at`."""
    stamp = str(int(at))
    digest = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    form = "application/x-www-form-urlencoded"
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}", "Content-Type": form}
