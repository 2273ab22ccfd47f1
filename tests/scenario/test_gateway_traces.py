"""A real gateway passes a trace on, and exports its span of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx

from tests.fakes.collector import Collector
from tests.patience import HANG_S, until
from tests.scenario.gateway_up import fleet_of, gateway_up

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()


class Engine:
    """Remembers the header fields of each request."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:-2]
                fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                await reader.readexactly(int(fields.get("content-length", "0")))
                self.heads.append(fields)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def ask(port: int, traceparent: str = "") -> None:
    fields = {"traceparent": traceparent, "tracestate": "vendor=1"} if traceparent else {}
    async with httpx.AsyncClient(timeout=HANG_S) as client:
        body = {"model": "chat", "messages": [{"role": "user", "content": "secret words"}]}
        answer = await client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, headers=fields)
        assert answer.status_code == 200


async def test_the_engines_span_is_below_the_gateways_and_the_gateways_below_the_callers(tmp_path: Path) -> None:
    engine = Engine()
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Collector() as collector:
        fleet = fleet_of(url, f', traces: {{url: "{collector.url}", sample: 1}}')
        async with gateway_up(tmp_path, fleet) as gateway:
            await ask(gateway.port, f"00-{TRACE}-{CALLER}-01")
            await until(lambda: len(collector.spans) == 1)
            (span,) = collector.spans
            assert (span["traceId"], span["parentSpanId"], span["name"]) == (TRACE, CALLER, "chat chat")
            assert engine.heads[-1]["traceparent"] == f"00-{TRACE}-{span['spanId']}-01"
            assert engine.heads[-1]["tracestate"] == "vendor=1"
            assert "secret words" not in json.dumps(collector.bodies)

            await ask(gateway.port, f"00-{TRACE}-{CALLER}-00")
            assert engine.heads[-1]["traceparent"] == f"00-{TRACE}-{CALLER}-00"
            await ask(gateway.port)
            # What waits is sent when the gateway ends.
        assert len(collector.spans) == 2
        assert collector.spans[1]["traceId"] in engine.heads[-1]["traceparent"]
        assert "parentSpanId" not in collector.spans[1]
    server.close()


async def test_content_is_exported_where_it_is_asked(tmp_path: Path) -> None:
    engine = Engine()
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Collector() as collector:
        fleet = fleet_of(url, f', traces: {{url: "{collector.url}", content: true}}')
        async with gateway_up(tmp_path, fleet) as gateway:
            await ask(gateway.port)
            await until(lambda: len(collector.spans) == 1)
        found = {a["key"]: a["value"].get("stringValue") for a in collector.spans[0]["attributes"]}
        assert json.loads(found["gen_ai.input.messages"]) == [
            {"role": "user", "parts": [{"type": "text", "content": "secret words"}]}
        ]
        assert found["controlplane.response.body"] == ANSWER.decode()
    server.close()


async def test_without_traces_the_header_goes_through_and_none_is_made(tmp_path: Path) -> None:
    engine = Engine()
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    async with gateway_up(tmp_path, fleet_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")) as gateway:
        await ask(gateway.port, f"00-{TRACE}-{CALLER}-01")
        await ask(gateway.port)
    assert engine.heads[0]["traceparent"] == f"00-{TRACE}-{CALLER}-01"
    assert "traceparent" not in engine.heads[1]
    server.close()
