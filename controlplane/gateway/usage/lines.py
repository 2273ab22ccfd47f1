"""The format of a journal's files: one record a line, each with a checksum and its sequence number.

The first line is `{"format":1,"fields":[…]}`. Every other line is `CRC SEQUENCE [VALUE,…]`: CRC-32 in eight hex digits
over the rest of the line, and the values in the order of the fields. A line without its newline, or with another
checksum, was not written to its end.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from zlib import crc32

import orjson

from controlplane.gateway.recording import UsageRecord
from controlplane.gateway.request import Outcome

FORMAT = 1
FIELDS = (
    *("at", "request_id", "tenant", "key_id", "operation", "model", "version", "backend", "outcome", "status"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "estimated", "queue_s", "first_s", "duration_s"),
    *("attempts", "degraded_from", "reason"),
)
"""Fields of a record, as UsageRecord names them. Its span is not among them."""


class Entry(NamedTuple):
    """One line that was read: its sequence number, and its values by field."""

    sequence: int
    values: dict[str, Any]


def heading() -> bytes:
    """Return the first line of a file."""
    return orjson.dumps({"format": FORMAT, "fields": FIELDS}) + b"\n"


def line(sequence: int, record: UsageRecord) -> bytes:
    """Return the line of a record. A model that a wrong request names is left out: every name becomes a row of the
    control plane's database, and a client may make names up."""
    body = b"%d %b" % (sequence, orjson.dumps(_values(record)))
    return b"%08x %b\n" % (crc32(body), body)


def fields_of(first_line: bytes) -> tuple[str, ...] | None:
    """Return the fields of a file by its first line. None: it is damaged, or of a later format."""
    try:
        head = orjson.loads(first_line)
        if head["format"] != FORMAT:
            return None
        return tuple(str(name) for name in head["fields"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def entry(data: bytes, fields: tuple[str, ...]) -> Entry | None:
    """Return the entry of one line without its newline. None: the line is damaged."""
    try:
        if int(data[:8], 16) != crc32(data[9:]):
            return None
        sequence, _, values = data[9:].partition(b" ")
        return Entry(int(sequence), dict(zip(fields, orjson.loads(values), strict=True)))
    except (ValueError, TypeError):
        return None


def _values(record: UsageRecord) -> tuple[object, ...]:
    # Written out: a loop over FIELDS takes three times as long, and this runs for each request.
    first = record.first_s
    return (
        int(record.at * 1e3) / 1e3,
        record.request_id,
        record.tenant,
        record.key_id,
        record.operation,
        record.model if record.outcome is not Outcome.INVALID or record.backend else "",
        record.version,
        record.backend,
        record.outcome,
        record.status,
        record.prompt_tokens,
        record.completion_tokens,
        record.cached_tokens,
        record.estimated,
        int(record.queue_s * 1e6) / 1e6,
        None if first is None else int(first * 1e6) / 1e6,
        int(record.duration_s * 1e6) / 1e6,
        record.attempts,
        record.degraded_from,
        record.reason,
    )
