"""Replies of chat programs and on-call services, with the checks and limits that these have."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

import orjson
from aiohttp import web

from tests.fakes.receiver import Got

SECRET = "SEC0123456789"
KEY = "0123456789abcdef0123456789abcdef"


def answer(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")


def feishu(got: Got) -> web.Response:
    """Reply as a bot with a secret does."""
    content = got.json
    key = f"{content.get('timestamp')}\n{SECRET}".encode()
    sign = base64.b64encode(hmac.new(key, digestmod=hashlib.sha256).digest()).decode()
    if content.get("sign") != sign or abs(int(content["timestamp"]) - time.time()) > 3600:
        return answer({"code": 19021, "msg": "sign match fail or timestamp is not within one hour from current time"})
    if len(got.body) > 20 * 1024:
        return answer({"code": 9499, "msg": "Bad Request: too large"})
    if content["msg_type"] == "text":
        return answer({"code": 0, "msg": "success"} if content["content"]["text"] else {"code": 9499, "msg": "empty"})
    card = content["card"]
    good = content["msg_type"] == "interactive" and card["header"]["title"]["tag"] == "plain_text"
    tags = {element["tag"] for element in card["elements"]}
    if not good or not tags <= {"div", "action", "note", "hr"}:
        return answer({"code": 9499, "msg": "Bad Request"})
    return answer({"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"})


def dingtalk(got: Got) -> web.Response:
    """Reply as a bot with a secret does."""
    stamp = got.query.get("timestamp", "0")
    digest = hmac.new(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), hashlib.sha256).digest()
    if got.query.get("sign") != base64.b64encode(digest).decode() or abs(int(stamp) / 1000 - time.time()) > 3600:
        return answer({"errcode": 310000, "errmsg": "sign not match"})
    if got.query.get("access_token") != KEY:
        return answer({"errcode": 300001, "errmsg": "token is not exist"})
    content = got.json
    if len(got.body) > 20_000:
        return answer({"errcode": 460101, "errmsg": "message too long, exceed 20000 bytes"})
    if content["msgtype"] == "markdown" and not (content["markdown"]["title"] and content["markdown"]["text"]):
        return answer({"errcode": 40035, "errmsg": "缺少参数 text"})
    return answer({"errcode": 0, "errmsg": "ok"})


def wecom(got: Got) -> web.Response:
    """Reply as a group's bot does."""
    if got.query.get("key") != KEY:
        return answer({"errcode": 93000, "errmsg": "invalid webhook url, hint: [1731], from ip: 127.0.0.1"})
    kind = got.json["msgtype"]
    limit = {"markdown": 4096, "text": 2048}[kind]
    if len(got.json[kind]["content"].encode()) > limit:
        return answer({"errcode": 40058, "errmsg": f"{kind}.content exceed max length {limit}"})
    return answer({"errcode": 0, "errmsg": "ok"})


def msteams(got: Got) -> web.Response:
    """Reply as a workflow does."""
    if len(got.body) > 28 * 1024:
        return web.Response(status=413, text="Request Entity Too Large")
    (attachment,) = got.json["attachments"]
    good = attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    if not good or card["type"] != "AdaptiveCard" or any(b["type"] != "RichTextBlock" for b in card["body"]):
        return web.Response(status=400, text='{"error":{"code":"TriggerInputSchemaMismatch"}}')
    return web.Response(status=202)


def slack_webhook(got: Got) -> web.Response:
    """Reply as an incoming webhook does."""
    content = got.json
    if not content.get("text") and not content.get("blocks"):
        return web.Response(status=400, text="no_text")
    for block in content.get("blocks", ()):
        texts = [block.get("text", {}), *block.get("fields", ())]
        limit = {"header": 150, "section": 3000}.get(block["type"], 2000)
        if any(len(text.get("text", "")) > limit for text in texts) or len(block.get("fields", ())) > 10:
            return web.Response(status=400, text="invalid_blocks")
        if any("value" in element for element in block.get("elements", ())):
            return web.Response(status=400, text="invalid_blocks: a button that nobody serves")
    return web.Response(text="ok")


def pagerduty(got: Got) -> web.Response:
    """Reply as the Events API does."""
    content = got.json
    errors = []
    if content.get("routing_key") != KEY:
        errors.append("'routing_key' is missing or invalid")
    is_change = got.path == "/v2/change/enqueue"
    if not is_change and content.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        errors.append("'event_action' is missing or invalid")
    if content.get("event_action") == "trigger" or is_change:
        payload = content.get("payload") or {}
        errors += [f"'payload.{name}' is missing" for name in ("summary", "source") if not payload.get(name)]
        if len(payload.get("summary", "")) > 1024:
            errors.append("'payload.summary' is too long")
        for name, needed in (("links", "href"), ("images", "src")):
            errors += [f"'{name}' is invalid" for one in content.get(name, ()) if not one.get(needed)]
        if not is_change and payload.get("severity") not in ("critical", "error", "warning", "info"):
            errors.append("'payload.severity' is invalid")
    if len(content.get("dedup_key", "")) > 255 or len(got.body) > 512 * 1024:
        errors.append("too long")
    if errors:
        return answer({"status": "invalid event", "message": "Event object is invalid", "errors": errors}, 400)
    return answer({"status": "success", "message": "Event processed", "dedup_key": content.get("dedup_key")}, 202)


def opsgenie(got: Got) -> web.Response:
    """Reply as the Alert API does."""
    if got.headers.get("authorization") != f"GenieKey {KEY}":
        return answer({"message": "Could not authenticate", "took": 0.0}, 401)
    content = got.json
    if got.path == "/v2/alerts":
        limits = {"message": 130, "alias": 512, "description": 15_000, "source": 100, "entity": 512}
        wrong = [name for name, limit in limits.items() if len(content.get(name, "")) > limit]
        wrong += [] if content.get("message") else ["message"]
        wrong += ["tags"] if any(len(tag) > 50 for tag in content.get("tags", ())) else []
        wrong += ["actions"] if any(len(action) > 50 for action in content.get("actions", ())) else []
        wrong += ["note"] if len(content.get("note", "")) > 25_000 else []
        wrong += ["priority"] if content.get("priority", "P3") not in ("P1", "P2", "P3", "P4", "P5") else []
        known = {"team", "user", "escalation", "schedule"}
        responders = content.get("responders", ())
        wrong += ["responders"] if len(responders) > 50 or any(one["type"] not in known for one in responders) else []
        wrong += ["details"] if sum(map(len, map(str, content.get("details", {}).items()))) > 10_000 else []
        if wrong:
            return answer({"message": f"Request body is not processable: {wrong}"}, 422)
    elif not got.path.endswith("/close") or got.query.get("identifierType") != "alias":
        return answer({"message": "not found"}, 404)
    return answer({"result": "Request will be processed", "requestId": "r"}, 202)
