"""A request's span as OTLP JSON, with the attributes of OpenTelemetry's conventions for generative AI. Pure.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ (development status). What the conventions have no name
for is under `controlplane.`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from controlplane.gateway.recording import UsageRecord
from controlplane.gateway.request import Outcome
from controlplane.gateway.telemetry.tracing.tracer import OpenSpan

PROVIDER = "controlplane.gateway"
"""gen_ai.provider.name. The conventions list commercial providers; a self-hosted one names itself."""
OPERATIONS: Mapping[str, str] = {
    "completion": "text_completion",
    "response": "chat",
    "message": "chat",
    "embedding": "embeddings",
    "generate": "text_completion",
}
"""Operations that the conventions call otherwise than this gateway. Others keep their name: chat, infer, rerank."""
_SERVER = 2
_ERROR = 2
_FAILED = frozenset({Outcome.ERROR, Outcome.TIMEOUT, Outcome.REJECTED, Outcome.CUT})


def span_json(span: OpenSpan, record: UsageRecord) -> bytes:
    """Return the span of an ended request, as one object of `scopeSpans[].spans`."""
    operation = OPERATIONS.get(record.operation, record.operation)
    asked = record.degraded_from or record.model
    found: dict[str, Any] = {
        "traceId": span.trace_id.decode(),
        "spanId": span.span_id.decode(),
        "flags": span.flags,
        "name": f"{operation} {asked}".strip() or "request",
        "kind": _SERVER,
        "startTimeUnixNano": _nanos(span.started),
        "endTimeUnixNano": _nanos(span.started + record.duration_s),
        "attributes": [
            {"key": key, "value": _value(value)} for key, value in _attributes(span, record, operation, asked)
        ],
    }
    if span.parent_id:
        found["parentSpanId"] = span.parent_id.decode()
    if record.first_s is not None:
        found["events"] = [{"timeUnixNano": _nanos(span.started + record.first_s), "name": "first_token"}]
    if record.outcome in _FAILED:
        found["status"] = {"code": _ERROR, "message": record.reason or record.outcome.value}
    return orjson.dumps(found)


def document(name: str, version: str, spans: Iterable[bytes]) -> bytes:
    """Return the body of an export request: spans of the gateway `name` of release `version`."""
    resource = {"service.name": "controlplane-gateway", "service.instance.id": name, "service.version": version}
    head = orjson.dumps({"attributes": [{"key": key, "value": _value(value)} for key, value in resource.items()]})
    return (
        b'{"resourceSpans":[{"resource":%b,"scopeSpans":[{"scope":{"name":"controlplane.gateway"},"spans":[%b]}]}]}'
        % (head, b",".join(spans))
    )


def _attributes(span: OpenSpan, record: UsageRecord, operation: str, asked: str) -> Iterable[tuple[str, Any]]:
    address = urlsplit(record.backend)
    found: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": asked,
        "gen_ai.response.model": record.model if record.outcome is Outcome.OK else "",
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "server.address": address.hostname,
        "server.port": address.port,
        "http.response.status_code": record.status or None,
        "error.type": (record.reason or record.outcome.value) if record.outcome in _FAILED else None,
        "controlplane.request_id": record.request_id,
        "controlplane.tenant": record.tenant,
        "controlplane.key_id": record.key_id,
        "controlplane.version": record.version,
        "controlplane.outcome": record.outcome.value,
        "controlplane.attempts": record.attempts,
        "controlplane.queue_seconds": record.queue_s,
        "controlplane.time_to_first_token_seconds": record.first_s,
        "controlplane.tokens_estimated": record.estimated,
    }
    if span.content:
        found["gen_ai.input.messages"] = _messages(span.body)
        found["controlplane.request.body"] = None if found["gen_ai.input.messages"] else _text(span.body)
        found["controlplane.response.body"] = _text(bytes(span.answer))
    return ((key, value) for key, value in found.items() if value is not None and value != "")


def _messages(body: bytes) -> str | None:
    """Return the messages of a chat in the conventions' form. None: the body has none, or was cut."""
    try:
        messages = orjson.loads(body)["messages"]
        return orjson.dumps([{"role": m["role"], "parts": _parts(m.get("content"))} for m in messages]).decode()
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None


def _parts(content: object) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    if not isinstance(content, list):
        return []
    # A picture is megabytes, and no text.
    return [{"type": "text", "content": part["text"]} for part in content if isinstance(part, dict) and "text" in part]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _value(value: object) -> dict[str, Any]:
    # OTLP's JSON has 64-bit integers as texts.
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)}


def _nanos(unix: float) -> str:
    return str(round(unix * 1e6) * 1000)
