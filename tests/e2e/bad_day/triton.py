"""The fake Tritons of the world: one model each, and a server that calls itself ready."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.fakes.triton import FakeTriton


def triton(versions: tuple[int, ...], stable: int) -> FakeTriton:
    """Return a server with these versions on its disk. It serves `stable`."""
    made = FakeTriton(versions, (stable,))
    made.hostile = _answer
    return made


async def _answer(request: web.Request, handler: Any) -> web.Response:
    """Answer as FakeTriton does, with a health that it lacks and without the second model of its index."""
    if request.path in ("/v2/health/ready", "/v2/health/live"):
        return web.Response()
    answer: web.Response = await handler(request)
    if request.path == "/v2/repository/index" and answer.text:
        return web.json_response([row for row in json.loads(answer.text) if row["name"] == "model"])
    return answer
