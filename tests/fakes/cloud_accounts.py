"""A fake provider of hosted models: OpenAI's and Anthropic's APIs for usage and costs, able to misbehave.

It answers as their references document: daily buckets with pages, and no answer without the right admin key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.fakes.served import Served

KEY = "sk-admin-1"
DAY_S = 86_400
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def moment(text: str) -> float:
    """Return the unix seconds of a time in UTC: `2026-11-28T10:00`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class FakeAccounts(Served):
    """One server on a free loopback port with accounts at both providers: `async with FakeAccounts() as provider`."""

    def __init__(self) -> None:
        self.days: dict[str, dict[str, list[dict[str, Any]]]] = {}
        """Path -> day (`2026-11-28`) -> results of the day."""
        self.page_days = 31
        """Days in one page."""
        self.failures: dict[str, Answer | int] = {}
        """Path -> status, or what answers instead."""
        self.asked: list[str] = []
        """Paths of all requests, in order."""
        self.queries: list[list[tuple[str, str]]] = []

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        self.queries.append(list(request.query.items()))
        openai = request.path.startswith("/v1/organization/")
        key = request.headers.get("Authorization") if openai else request.headers.get("x-api-key")
        if key != (f"Bearer {KEY}" if openai else KEY):
            return web.json_response({"error": {"message": f"Incorrect API key provided: {key}"}}, status=401)
        failure = self.failures.get(request.path)
        if isinstance(failure, int):
            return web.Response(status=failure, text="no")
        if failure:
            return await failure(request)
        since = float(request.query["start_time"]) if openai else moment(request.query["starting_at"].rstrip("Z"))
        return web.json_response(self._page(request, since, openai=openai))

    def _page(self, request: web.Request, since: float, *, openai: bool) -> dict[str, Any]:
        days = self.days.get(request.path, {})
        buckets = [
            _bucket(day, results, openai=openai) for day, results in sorted(days.items()) if moment(day) >= since
        ]
        size = min(self.page_days, int(request.query["limit"]))
        first = int(request.query.get("page", "page_0").removeprefix("page_"))
        more = first + size < len(buckets)
        return {
            "object": "page",
            "data": buckets[first : first + size],
            "has_more": more,
            "next_page": f"page_{first + size}" if more else None,
        }


def _bucket(day: str, results: list[dict[str, Any]], *, openai: bool) -> dict[str, Any]:
    start = moment(day)
    if openai:
        return {"object": "bucket", "start_time": int(start), "end_time": int(start) + DAY_S, "results": results}
    end = datetime.fromtimestamp(start + DAY_S, UTC)
    return {"starting_at": f"{day}T00:00:00Z", "ending_at": f"{end:%Y-%m-%dT%H:%M:%SZ}", "results": results}
