"""Trace context and spans: which requests have one, what is in it, and how it reaches a collector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from controlplane.gateway.request import Outcome, RequestHead
from controlplane.gateway.telemetry import families as f
from controlplane.gateway.telemetry.columns import AREA_BYTES, exposition_of, meters_of
from controlplane.gateway.telemetry.recorder import WorkerRecorder
from controlplane.gateway.telemetry.tracing import exporter as module
from controlplane.gateway.telemetry.tracing.context import parent_of
from controlplane.gateway.telemetry.tracing.exporter import SpanExporter, endpoint
from controlplane.gateway.telemetry.tracing.span import span_json
from controlplane.gateway.telemetry.tracing.tracer import CONTENT_BYTES, OpenSpan, RequestTracer
from controlplane.remote_client import RemoteClient
from tests.fakes.collector import Collector
from tests.fakes.shared_memory import shared_memory
from tests.fakes.usage_records import record
from tests.patience import until

TRACE, PARENT = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


def head(traceparent: bytes = b"") -> RequestHead:
    known = {b"traceparent": traceparent} if traceparent else {}
    return RequestHead(b"POST", b"/", b"/", list(known.items()), 0, False, True, known)


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (b"00-%b-%b-01" % (TRACE, PARENT), True),
        (b"00-%b-%b-00" % (TRACE, PARENT), False),
        (b" 00-%b-%b-03 " % (TRACE, PARENT), True),
        (b"cc-%b-%b-01-what-the-future-will-be-like" % (TRACE, PARENT), True),
        (b"cc-%b-%b-01" % (TRACE, PARENT), True),
        (b"00-%b-%b-01-more" % (TRACE, PARENT), None),
        (b"ff-%b-%b-01" % (TRACE, PARENT), None),
        (b"00-%b-%b-01" % (b"0" * 32, PARENT), None),
        (b"00-%b-%b-01" % (TRACE, b"0" * 16), None),
        (b"00-%b-%b-01" % (TRACE.upper(), PARENT), None),
        (b"00-%b-%b-1" % (TRACE, PARENT), None),
        (b"cc-%b-%b-01.x" % (TRACE, PARENT), None),
        (b"", None),
        (b"garbage", None),
    ],
)
def test_the_callers_span(header: bytes, sampled: bool | None) -> None:
    parent = parent_of(header)
    assert (None if parent is None else parent.sampled) == sampled
    if parent is not None:
        assert parent[:2] == (TRACE, PARENT)


def started(tracer: RequestTracer, header: bytes = b"") -> OpenSpan | None:
    span = tracer.start(head(header), 1000.0)
    assert span is None or isinstance(span, OpenSpan)
    return span


def test_a_sampled_caller_gets_a_child_and_the_engine_gets_the_childs_id() -> None:
    span = started(RequestTracer(0.0, bits=lambda size: 0xABC), b"00-%b-%b-03" % (TRACE, PARENT))
    assert span is not None
    assert (span.trace_id, span.parent_id, span.span_id) == (TRACE, PARENT, b"0000000000000abc")
    assert span.header == b"00-%b-0000000000000abc-03" % TRACE


def test_a_caller_that_is_not_sampled_is_not_exported_whatever_the_share() -> None:
    assert started(RequestTracer(1.0), b"00-%b-%b-00" % (TRACE, PARENT)) is None


def test_without_a_caller_the_share_decides_and_ids_are_never_zero() -> None:
    chances = iter([0.29, 0.3])
    tracer = RequestTracer(0.3, bits=lambda size: 0, chance=lambda: next(chances))
    span = started(tracer)
    assert span is not None
    assert span.header == b"00-" + b"0" * 31 + b"1-" + b"0" * 15 + b"1-01"
    assert started(tracer) is None


def test_ids_differ() -> None:
    spans = [started(RequestTracer(1.0)) for _ in range(100)]
    assert len({span.trace_id for span in spans if span}) == len({span.span_id for span in spans if span}) == 100


def shown(span: OpenSpan, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a span's JSON and its attributes."""
    found = orjson.loads(span_json(span, record(**changes)))
    return found, {a["key"]: next(iter(a["value"].values())) for a in found["attributes"]}


def a_span(*, content: bool = False) -> OpenSpan:
    return OpenSpan(TRACE, b"0000000000000abc", PARENT, 1, 1000.0, content=content)


def test_a_span_has_the_attributes_of_the_conventions() -> None:
    found, attributes = shown(a_span(), reason="", degraded_from="large")
    assert found["name"] == "chat large"
    assert (found["traceId"], found["spanId"], found["parentSpanId"]) == (
        TRACE.decode(),
        "0000000000000abc",
        PARENT.decode(),
    )
    assert (found["kind"], found["startTimeUnixNano"], found["endTimeUnixNano"]) == (
        2,
        "1000000000000",
        "1001000000000",
    )
    assert found["events"] == [{"timeUnixNano": "1000200000000", "name": "first_token"}]
    assert "status" not in found
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "controlplane.gateway",
        "gen_ai.request.model": "large",
        "gen_ai.response.model": "chat",
        "gen_ai.usage.input_tokens": "12",
        "gen_ai.usage.output_tokens": "5",
        "gen_ai.usage.cache_read.input_tokens": "4",
        "server.address": "10.0.0.7",
        "server.port": "8000",
        "http.response.status_code": "200",
        "controlplane.request_id": "r1",
        "controlplane.tenant": "acme",
        "controlplane.key_id": "k1",
        "controlplane.version": "v1",
        "controlplane.outcome": "ok",
        "controlplane.attempts": "1",
        "controlplane.queue_seconds": 0.0,
        "controlplane.time_to_first_token_seconds": 0.2,
        "controlplane.tokens_estimated": False,
    }


def test_a_failure_has_a_status_and_its_type() -> None:
    found, attributes = shown(a_span(), outcome=Outcome.CUT, reason="cut", prompt_tokens=None, first_s=None)
    assert found["status"] == {"code": 2, "message": "cut"}
    assert attributes["error.type"] == "cut"
    assert "gen_ai.usage.input_tokens" not in attributes
    assert "events" not in found
    left, _ = shown(a_span(), outcome=Outcome.ABORTED)
    assert "status" not in left


def test_a_request_that_never_had_a_model_has_a_span_too() -> None:
    found, attributes = shown(a_span(), operation="", model="", backend="", version="", outcome=Outcome.INVALID)
    assert found["name"] == "request"
    assert "server.address" not in attributes


def test_no_content_unless_asked() -> None:
    span = a_span()
    span.asked(b'{"messages":[{"role":"user","content":"secret"}]}')
    span.answered(b"secret")
    assert b"secret" not in span_json(span, record())


def test_content_is_messages_in_the_conventions_form_and_is_bounded() -> None:
    span = a_span(content=True)
    picture = {"type": "image_url", "image_url": {"url": "data:…"}}
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "what is this?"}, picture]},
        {"role": "assistant", "content": None},
    ]
    span.asked(orjson.dumps({"model": "chat", "messages": messages}))
    span.answered(b"x" * (CONTENT_BYTES - 1))
    span.answered(b"yz")
    _, attributes = shown(span)
    assert orjson.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "be brief"}]},
        {"role": "user", "parts": [{"type": "text", "content": "what is this?"}]},
        {"role": "assistant", "parts": []},
    ]
    assert attributes["controlplane.response.body"] == "x" * (CONTENT_BYTES - 1) + "y"
    assert "controlplane.request.body" not in attributes


def test_a_body_without_messages_is_shown_as_it_is() -> None:
    span = a_span(content=True)
    span.asked(b'{"prompt":"\xff')
    _, attributes = shown(span)
    assert attributes["controlplane.request.body"] == '{"prompt":"\ufffd'


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ],
)
def test_the_address_for_spans(url: str, address: str) -> None:
    assert endpoint(url) == address


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as made:
        yield made


class Rig:
    """A recorder whose requests are traced, and its exporter."""

    def __init__(self, client: RemoteClient, memory: Any) -> None:
        meters = meters_of(memory, 0)
        self.exporter = SpanExporter(client, meters, "g1", "1.2.3")
        self.recorder = WorkerRecorder(meters, spans=self.exporter)
        self._exposition = exposition_of(memory)
        self._tracer = RequestTracer(1.0)

    def request(self, number: int) -> None:
        trace = self._tracer.start(head(), 1000.0)
        self.recorder.ended(record(request_id=f"r{number}", trace=trace), opened=False)

    def fates(self) -> dict[str, float]:
        return {fate: count for (fate,), count in self._exposition.totals(f.SPANS, "fate").items() if count}


@pytest.fixture
async def rig(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    monkeypatch.setattr(module, "_BACKOFF_S", (0.01, 0.02))
    client = RemoteClient(endpoint(collector.url), max_reply_bytes=2**16)
    with shared_memory(AREA_BYTES) as memory:
        yield Rig(client, memory)
    await client.close()


async def test_spans_reach_the_collector_and_are_counted(collector: Collector, rig: Rig) -> None:
    running = asyncio.create_task(rig.exporter.run())
    for number in range(20):
        rig.request(number)
    await until(lambda: len(collector.spans) == 20)
    await until(lambda: rig.fates() == {"exported": 20.0})
    running.cancel()
    resource = collector.bodies[0]["resourceSpans"][0]["resource"]["attributes"]
    assert {a["key"]: a["value"]["stringValue"] for a in resource} == {
        "service.name": "controlplane-gateway",
        "service.instance.id": "g1",
        "service.version": "1.2.3",
    }


async def test_a_collector_that_is_away_gets_the_spans_later(
    collector: Collector, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    collector.replies = [(503, {}), (429, {}), (200, {})]
    running = asyncio.create_task(rig.exporter.run())
    with caplog.at_level("INFO"):
        rig.request(1)
        await until(lambda: len(collector.spans) == 1)
        await until(lambda: rig.fates() == {"exported": 1.0})
    running.cancel()
    assert [r.getMessage().partition(" http")[0] for r in caplog.records if r.name == module.__name__] == [
        "traces wait:",
        "traces wait:",
        "traces are sent again to",
    ]


async def test_what_the_collector_refuses_is_dropped_and_counted(collector: Collector, rig: Rig) -> None:
    collector.replies = [(400, {}), (200, {"partialSuccess": {"rejectedSpans": "1"}})]
    for number in range(2):
        rig.request(number)
    await rig.exporter.close()
    assert rig.fates() == {"dropped_refused": 2.0}
    for number in range(3):
        rig.request(number)
    await rig.exporter.close()
    assert rig.fates() == {"dropped_refused": 3.0, "exported": 2.0}


async def test_the_queue_is_bounded_and_what_does_not_fit_is_counted(
    collector: Collector, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 5000)
    monkeypatch.setattr(module, "BATCH_BYTES", 2000)
    for number in range(100):
        rig.request(number)
    await rig.exporter.close()
    fates = rig.fates()
    assert fates["exported"] == len(collector.spans) > 2
    assert fates["exported"] + fates["dropped_queue_full"] == 100
    assert collector.posts > 1


async def test_spans_of_a_batch_that_was_on_its_way_are_sent_at_the_end(collector: Collector, rig: Rig) -> None:
    collector.replies = [(503, {})] * 3
    running = asyncio.create_task(rig.exporter.run())
    rig.request(1)
    await until(lambda: collector.posts == 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    collector.replies = []
    await rig.exporter.close()
    assert len(collector.spans) == 1
