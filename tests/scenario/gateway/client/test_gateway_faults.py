"""Faults of the gateway's own code, over raw sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.gateway.request import Outcome
from tests.fakes.engine import DONE, TOKEN, FakeEngine, chunk, stream
from tests.fakes.gateway import CHAT, STREAM, Gateway
from tests.fakes.raw_http import RawClient, post


@pytest.mark.parametrize("method", ["recognise", "read", "outgoing", "reader", "refuse"])
async def test_a_fault_of_a_stage_is_a_500_and_a_line_in_the_log(
    gateway: Gateway, client: RawClient, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    gateway.dialects.fail_at = method
    answer = await client.ask(post(CHAT, "/v1/nothing" if method == "refuse" else "/v1/chat/completions"))
    assert answer.status == 500
    assert (await gateway.record()).outcome is Outcome.ERROR
    assert any("RuntimeError" in line and "gateway_stages.py" in line for line in caplog.messages)
    assert "secret prompt" not in caplog.text
    gateway.dialects.fail_at = ""
    async with await gateway.connect() as another:
        assert (await another.ask(post(CHAT))).status == 200


async def test_a_fault_in_the_middle_of_a_stream_breaks_it_off(
    gateway: Gateway, engine: FakeEngine, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    async def two_pieces(turn: Any) -> None:
        await stream(TOKEN, end=False)(turn)
        await go_on.wait()
        await turn.send(chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")

    engine.script = [two_pieces]
    await client.send(post(STREAM))
    await client.until(TOKEN)

    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(gateway.recorder, "gap", fails)
    go_on.set()
    rest = await client.ended()
    assert b'"error"' in rest
    assert DONE not in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert (await gateway.record()).outcome is Outcome.ERROR
