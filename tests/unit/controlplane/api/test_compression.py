"""Answers are compressed for those who take it, and what holds a secret never is."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import httpx
import pytest
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from controlplane.api.compression import Compression, takes_gzip
from controlplane.metrics.query.render import Rendered

BIG = b'{"a":"' + b"x" * 200_000 + b'"}'


async def ask(path: str, answer: Response, accepted: str = "gzip") -> tuple[httpx.Headers, bytes]:
    """Return headers and the body as it travelled."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)

    transport = httpx.ASGITransport(Compression(app, asyncio.to_thread))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://a") as client,
        client.stream("GET", path, headers={"Accept-Encoding": accepted}) as got,
    ):
        return got.headers, b"".join([chunk async for chunk in got.aiter_raw()])


@pytest.mark.parametrize("size", [2_000, 200_000])
async def test_what_is_worth_it_is_compressed_and_is_the_same(size: int) -> None:
    body = b"[" + b"1," * (size // 2) + b"1]"
    headers, sent = await ask("/api/v1/query", Response(body, media_type="application/json"))
    assert (headers["content-encoding"], headers["vary"]) == ("gzip", "Accept-Encoding")
    assert int(headers["content-length"]) == len(sent) < len(body) / 10
    assert gzip.decompress(sent) == body


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("br;q=1, gzip ; q=0.001", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("br", False),
        ("*", False),
    ],
)
async def test_only_who_takes_it_gets_it(accepted: str, taken: bool) -> None:
    assert takes_gzip(accepted) == taken
    headers, sent = await ask("/api/v1/query", Response(BIG, media_type="application/json"), accepted)
    assert ("content-encoding" in headers, sent == BIG) == (taken, not taken)
    assert headers["vary"] == "Accept-Encoding"


async def stream() -> Any:
    yield BIG
    yield BIG


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/api/v1/query", Response(b"x" * 1000, media_type="application/json")),
        ("/cp/v1/tokens", Response(BIG, media_type="application/json")),
        ("/cp/v1/keys", Response(BIG, media_type="application/json")),
        ("/alerts", HTMLResponse(BIG)),
        ("/api/v1/query", HTMLResponse(BIG)),
        ("/cp/v1/events", StreamingResponse(stream(), media_type="text/event-stream")),
        ("/api/v1/read", Response(BIG, headers={"Content-Encoding": "snappy"}, media_type="application/json")),
    ],
)
async def test_what_is_small_secret_streamed_or_compressed_stays_as_it_is(path: str, answer: Response) -> None:
    headers, sent = await ask(path, answer)
    assert headers.get("content-encoding") in (None, "snappy")
    assert len(sent) in (1000, len(BIG), 2 * len(BIG))


async def test_a_query_is_answered_compressed(rig: Any, viewer: httpx.AsyncClient, monkeypatch: Any) -> None:
    async def answer(*_: Any, **options: Any) -> Rendered:
        return Rendered(BIG)

    monkeypatch.setattr(rig.queries, "instant_json", answer)
    got = await viewer.get("/api/v1/query?query=1", headers={"Accept-Encoding": "gzip"})
    assert (got.headers["content-encoding"], got.json()["data"]["a"]) == ("gzip", "x" * 200_000)
    assert got.headers["x-content-type-options"] == "nosniff"
