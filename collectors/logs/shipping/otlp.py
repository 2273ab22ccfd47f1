"""Lines as collectors of OpenTelemetry take them: `POST /v1/logs`, OTLP in its JSON encoding.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collectors.logs.shipping.record import Record
from collectors.logs.shipping.verdict import Answer, Verdict, usual

_SEVERITY = {"critical": (17, "ERROR"), "warning": (13, "WARN")}
_FOR_GOOD = frozenset((405, 406, 410, 411, 414, 415, 422, 431, 500, 501, 505))
"""Beside 400 and 413: statuses that the protocol forbids to retry, and that no change of the credentials mends."""


class Otlp:
    """The dialect. Each log is a resource; a line's events and its place are attributes."""

    path = "/v1/logs"
    query: Mapping[str, str] = {}
    content_type = "application/json"

    def body(self, records: Sequence[Record]) -> bytes:
        """Return an ExportLogsServiceRequest."""
        resources: dict[object, list[Record]] = {}
        for record in records:
            resources.setdefault(record.labels, []).append(record)
        return json.dumps({"resourceLogs": [_resource(own) for own in resources.values()]}).encode()

    def verdict(self, answer: Answer, records: Sequence[Record]) -> Verdict:
        """Judge an answer. Of a partial success, the protocol forbids to send anything again."""
        if answer.status in _FOR_GOOD:
            return Verdict(dropped={f"status_{answer.status}": len(records)}, why=answer.sentence)
        if not 200 <= answer.status < 300:
            return usual(answer, records)
        try:
            partial = json.loads(answer.body or b"{}").get("partialSuccess") or {}
            rejected = int(partial.get("rejectedLogRecords") or 0)
            why = str(partial.get("errorMessage") or "")[:300]
        except (ValueError, TypeError, AttributeError, RecursionError):
            return Verdict()
        if rejected <= 0:
            return Verdict()
        return Verdict(dropped={"rejected": min(rejected, len(records))}, why=f"a line was refused: {why}")


def _resource(records: Sequence[Record]) -> dict[str, Any]:
    labels = dict(records[0].labels)
    own = {"service.name": labels.get("log_engine", ""), "host.name": labels.get("node", ""), **labels}
    scope = {"scope": {"name": "controlplane.log-exporter"}, "logRecords": [_log_record(r) for r in records]}
    return {"resource": {"attributes": _attributes(own.items())}, "scopeLogs": [scope]}


def _log_record(record: Record) -> dict[str, Any]:
    number, text = _SEVERITY.get(record.severity, (0, ""))
    events = {"values": [{"stringValue": event} for event in record.events]}
    told = [{"key": "llm.log.events", "value": {"arrayValue": events}}] if record.events else []
    return {
        "observedTimeUnixNano": str(record.at_ns),
        "timeUnixNano": str(record.time_ns),
        "severityNumber": number,
        "severityText": text,
        "body": {"stringValue": record.text},
        "attributes": [*_attributes([("llm.log.place", record.place)]), *told],
    }


def _attributes(pairs: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in pairs if value]
