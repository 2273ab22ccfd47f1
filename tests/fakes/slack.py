"""A fake of Slack's Web API: the same protocol over real HTTP, with a channel in memory, and able to misbehave.

It answers chat.postMessage, chat.update, conversations.{list,history,replies}, the three calls of a file's upload and
apps.connections.open. `misbehave` queues faults for the next calls. `calls` records every call. `app` is the half with
which people click.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.slack_app import SlackApp
from tests.fakes.slack_limits import SlackLimits

TOKEN = "xoxb-right"
CHANNEL = "C0000000001"
"""Id of #ops."""


@dataclass
class FakeSlack:
    """The state of the workspace."""

    url: str = ""
    app: SlackApp = field(default_factory=SlackApp)
    messages: list[dict[str, Any]] = field(default_factory=list)
    """Messages of #ops with their threads, oldest first."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    limits: SlackLimits | None = None
    """Slack's limits on calls; None: it takes any number."""
    refuses_blocks: str = ""
    """Error for every call with blocks."""
    can_customize: bool = True
    """Whether the app has the scope chat:write.customize, with which a message has another sender."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Uploaded files by id."""
    completed: set[str] = field(default_factory=set)
    """Ids of the files that messages may show."""
    faults: deque[tuple[str, str]] = field(default_factory=deque)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends hanging calls, so that the server can stop."""
    _ts: Any = field(default_factory=lambda: itertools.count(1))

    def misbehave(self, fault: str, method: str = "") -> None:
        """Answer the next call (of `method`) with `fault`. The method of the bytes of a file is `upload`.

        `429:7` rate limited, `500` an HTML error page, `502-text`, `garbage` (200 and no JSON), `text` (200 as
        text/plain), `hang` (never answers), `lost` (does as asked, and drops the connection), or any Slack error code.
        """
        self.faults.append((method, fault))

    def roots(self) -> list[dict[str, Any]]:
        """Return the channel's messages outside threads."""
        return [m for m in self.messages if m.get("thread_ts", m["ts"]) == m["ts"]]

    def thread(self, ts: str) -> list[dict[str, Any]]:
        """Return the replies to a message."""
        return [m for m in self.messages if m.get("thread_ts") == ts and m["ts"] != ts]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        has_json = request.content_type == "application/json"
        body = await request.json() if has_json and request.method != "GET" else dict(request.query)
        self.calls.append((method, body))
        fault = self._fault(method) or (self.limits.take(method, body) if self.limits else "")
        if fault in ("", "lost"):
            answer = self._answer(method, body, request.headers.get("Authorization", ""))
            if fault == "lost":
                assert request.transport is not None
                request.transport.close()
            return web.json_response(answer)
        return await self._misbehaved(fault)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take the bytes of a file at the address that files.getUploadURLExternal gave."""
        self.calls.append(("upload", {}))
        if fault := self._fault("upload"):
            return await self._misbehaved(fault)
        self.files[request.match_info["file"]] = await request.read()
        return web.Response(text="OK")

    def _fault(self, method: str) -> str:
        for index, (wanted, fault) in enumerate(self.faults):
            if wanted in ("", method):
                del self.faults[index]
                return fault
        return ""

    async def _misbehaved(self, fault: str) -> web.StreamResponse:
        kind, _, argument = fault.partition(":")
        if kind == "429":
            headers = {"Retry-After": argument} if argument else {}
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
        if kind == "500":
            return web.Response(status=500, text="<html>oops</html>", content_type="text/html")
        if kind == "502-text":
            return web.Response(status=502, text="bad gateway")
        if kind == "garbage":
            return web.Response(body=b"{not json", content_type="application/json")
        if kind == "text":
            return web.Response(text="ok, I guess")
        if kind == "hang":
            await self.released.wait()
        return web.json_response({"ok": False, "error": kind})

    def _answer(self, method: str, body: dict[str, Any], authorization: str) -> dict[str, Any]:
        if method == "apps.connections.open":
            return self.app.connections_open(authorization)
        if authorization != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth" if authorization else "not_authed"}
        # As in Slack, only posting accepts a channel's name.
        known = (CHANNEL, "#ops") if method == "chat.postMessage" else (CHANNEL,)
        if not method.startswith(("conversations.list", "files.")) and body.get("channel") not in known:
            return {"ok": False, "error": "channel_not_found"}
        if self.refuses_blocks and all_blocks(body):
            return {"ok": False, "error": self.refuses_blocks, "errors": ["must be more beautiful"]}
        if not self.can_customize and {"username", "icon_emoji", "icon_url"} & set(body):
            return {"ok": False, "error": "missing_scope", "needed": "chat:write.customize"}
        shown = {block["slack_file"]["id"] for block in all_blocks(body) if block["type"] == "image"}
        if problem := "invalid_blocks" if shown - self.completed else _invalid(body):
            return {"ok": False, "error": problem}
        answer = getattr(self, "_" + method.replace(".", "_"), None)
        return answer(body) if answer else {"ok": False, "error": "unknown_method"}

    def _chat_postMessage(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802  # Slack's spelling
        message = {**body, "ts": f"1700000000.{next(self._ts):06d}"}
        self.messages.append(message)
        return {"ok": True, "channel": CHANNEL, "ts": message["ts"], "message": message}

    def _files_getUploadURLExternal(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802  # Slack's spelling
        file = f"F{next(self._ts):010d}"
        return {"ok": True, "upload_url": f"{self.url.removesuffix('api/')}upload/{file}", "file_id": file}

    def _files_completeUploadExternal(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802  # Slack's spelling
        files = json.loads(body["files"])
        if any(file["id"] not in self.files for file in files):
            return {"ok": False, "error": "file_not_found"}
        self.completed |= {file["id"] for file in files}
        return {"ok": True, "files": files}

    def _chat_update(self, body: dict[str, Any]) -> dict[str, Any]:
        for message in self.messages:
            if message["ts"] == body["ts"]:
                message.update(body)
                return {"ok": True, "channel": CHANNEL, "ts": body["ts"], "text": body.get("text", "")}
        return {"ok": False, "error": "message_not_found"}

    def _conversations_list(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return two pages, so that a client must follow the cursor."""
        if "cursor" not in body:
            metadata = {"next_cursor": "page2"}
            return {"ok": True, "channels": [{"id": "C0000000009", "name": "other"}], "response_metadata": metadata}
        return {"ok": True, "channels": [{"id": CHANNEL, "name": "ops"}], "response_metadata": {"next_cursor": ""}}

    def _conversations_history(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "messages": _shown(list(reversed(self.roots())), body)}

    def _conversations_replies(self, body: dict[str, Any]) -> dict[str, Any]:
        found = [m for m in self.messages if body["ts"] in (m["ts"], m.get("thread_ts"))]
        return {"ok": True, "messages": _shown(found, body)} if found else {"ok": False, "error": "thread_not_found"}


def _shown(messages: list[dict[str, Any]], body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return messages without metadata unless the call requests it, as Slack does."""
    limit = int(body.get("limit", 100))
    hidden = () if str(body.get("include_all_metadata")) in ("1", "True", "true") else ("metadata",)
    return [{k: v for k, v in m.items() if k not in hidden} for m in messages[:limit]]


def all_blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the blocks of a message and of its attachments."""
    beside = (block for attachment in body.get("attachments", ()) for block in attachment.get("blocks", ()))
    return [*body.get("blocks", ()), *beside]


def _invalid(body: dict[str, Any]) -> str:
    """Return Slack's error for blocks, attachments and metadata that it refuses, or ""."""
    for attachment in body.get("attachments", ()):
        if not {"fallback", "text", "blocks"} & set(attachment):
            return "invalid_attachments"
    blocks = all_blocks(body)
    if len(blocks) > 50:
        return "invalid_blocks"
    if "text" in body and not (body["text"] or blocks):
        return "no_text"
    for block in blocks:
        if block["type"] == "actions" and _invalid_buttons(block["elements"]):
            return "invalid_blocks"
        fields = block.get("fields", ())
        texts = [block.get("text", {}), *fields, *(e for e in block.get("elements", ()) if e["type"] == "mrkdwn")]
        if any(text.get("text") == "" for text in texts):
            return "invalid_blocks"
        limit = {"header": 150, "section": 3000}.get(block["type"], 2000)
        too_long = any(len(text.get("text", "")) > limit for text in texts) or len(fields) > 10
        if too_long or any(len(field["text"]) > 2000 for field in fields):
            return "invalid_blocks"
    if "metadata" in body and set(body["metadata"]) != {"event_type", "event_payload"}:
        return "metadata_must_be_sent_as_json"
    return ""


def _invalid_buttons(elements: list[dict[str, Any]]) -> bool:
    """Return whether Slack refuses these buttons: their number, ids, and the lengths of their texts."""
    ids = [element["action_id"] for element in elements]
    limits = {"title": 100, "text": 300, "confirm": 30, "deny": 30}
    dialogs = [element["confirm"] for element in elements if "confirm" in element]
    lengths = (len(dialog[part]["text"]) > limit for dialog in dialogs for part, limit in limits.items())
    wrong = (len(e["text"]["text"]) > 75 or len(e.get("value", "")) > 2000 for e in elements)
    return len(ids) > 25 or len(set(ids)) < len(ids) or any(lengths) or any(wrong)


@asynccontextmanager
async def running() -> AsyncIterator[FakeSlack]:
    """Serve on a free loopback port until the block ends."""
    slack = FakeSlack()
    app = web.Application()
    app.router.add_route("*", "/api/{method}", slack.handle)
    app.router.add_post("/upload/{file}", slack.upload)
    slack.app.routes(app)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        slack.url, slack.app.base = f"http://{host}:{port}/api/", f"http://{host}:{port}"
        yield slack
    finally:
        slack.released.set()
        await runner.cleanup()
