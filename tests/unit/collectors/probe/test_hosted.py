"""The probe beside hosted APIs: their rate limits, and the headers in which they read a key."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from collectors.probe.source import ProbeSource
from collectors.target import Auth
from tests.unit.collectors.probe.test_source import DONE, SLOW_S, Handler, Read, ask, chat, serving

LIMITS = {
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-remaining-requests": "7",
    "x-ratelimit-reset-requests": "1m30s",
    "x-ratelimit-remaining-tokens": "5000",
}


def answering(status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        text = chat("pong", "stop") + DONE if status == 200 else "{}"
        kind = "text/event-stream" if status == 200 else "application/json"
        return web.Response(status=status, text=text, content_type=kind, headers=headers)

    return handler


async def test_the_rate_limits_of_an_answer_are_gauges_by_kind() -> None:
    async with serving("/v1/chat/completions", answering(headers=LIMITS)) as url:
        read = await ask(url)

    assert read.get("llm_ratelimit_limit", type="requests", served_model="chat", source="probe") == 100
    assert read.get("llm_ratelimit_remaining", type="requests") == 7
    assert read.get("llm_ratelimit_reset_seconds", type="requests") == 90
    assert read.get("llm_ratelimit_remaining", type="tokens") == 5000
    assert not [s for s in read.values if s.name == "llm_ratelimit_limit" and ("type", "tokens") in s.labels]


async def test_a_server_without_limits_has_no_such_series() -> None:
    async with serving("/v1/chat/completions", answering()) as url:
        read = await ask(url)

    assert not [series for series in read.values if series.name.startswith("llm_ratelimit")]


async def test_a_refusal_states_its_limits_and_an_answer_without_any_changes_nothing() -> None:
    answers = [(429, {**LIMITS, "x-ratelimit-remaining-requests": "0"}), (502, None)]

    async def handler(request: web.Request) -> web.StreamResponse:
        return await answering(*answers.pop(0))(request)

    async with serving("/v1/chat/completions", handler) as url:
        read = await ask(url, times=2)

    assert read.outcomes == {("rejected", "http_429"): 1, ("error", "http_502"): 1}
    assert read.get("llm_ratelimit_remaining", type="requests") == 0


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/openai/deployments/chat/chat/completions", "key-1"),
        ("/openai/deployments/chat/embeddings", "key-1"),
        ("/openai/v1/chat/completions", None),
        ("/v1/chat/completions", None),
    ],
)
async def test_azure_gets_the_key_in_its_own_header(tmp_path: Path, path: str, sent: str | None) -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((request.headers.get("api-key"), request.headers.get("Authorization")))
        return await answering()(request)

    key = tmp_path / "key"
    key.write_text("key-1\n")
    async with serving(path, handler) as url:
        probe = ProbeSource(url + "?api-version=2024-10-21", None, "chat", auth=Auth(credentials_file=str(key)))
        try:
            Read(await probe.read(SLOW_S))
        finally:
            await probe.close()

    assert seen == [(sent, "Bearer key-1")]
