"""Lines as Elasticsearch and OpenSearch take them: `POST /_bulk`, in NDJSON, with an outcome for each line.

Source: https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

from collectors.logs.shipping.record import Record
from collectors.logs.shipping.verdict import Answer, Verdict, usual

_NS = 10**9


class Elasticsearch:
    """The dialect. A document's id is made of its line, so a line that is sent twice is stored once."""

    path = "/_bulk"
    query: Mapping[str, str] = {"filter_path": "errors,items.*.status,items.*.error.type,items.*.error.reason"}
    content_type = "application/x-ndjson"

    def __init__(self, index: str) -> None:
        """`index` is an index or a data stream."""
        self._index = index

    def body(self, records: Sequence[Record]) -> bytes:
        """Return an action and a document for each line. `create` is the one action that data streams take."""
        lines = []
        for record in records:
            lines.append(json.dumps({"create": {"_index": self._index, "_id": _id(record)}}))
            lines.append(json.dumps(_document(record)))
        return ("\n".join(lines) + "\n").encode()

    def verdict(self, answer: Answer, records: Sequence[Record]) -> Verdict:
        """Judge each line by its own status. An answer that is not about all of them counts as none."""
        if answer.status != HTTPStatus.OK:
            return usual(answer, records)
        try:
            read = json.loads(answer.body)
            if read.get("errors") is False:
                return Verdict()
            items = [_outcome(item) for item in read["items"]]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return Verdict(again=records, why="answered 200 with something else than the outcome of each line")
        if len(items) != len(records):
            why = f"answered 200 with the outcome of {len(items)} lines instead of {len(records)}"
            return Verdict(again=records, why=why)
        again: list[Record] = []
        dropped: Counter[str] = Counter()
        why = ""
        for record, (status, words) in zip(records, items, strict=True):
            if 200 <= status < 300 or status == HTTPStatus.CONFLICT:  # a conflict: it is there already
                continue
            why = why or f"a line was refused with {status}: {words}"
            if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
                again.append(record)
            else:
                dropped[f"status_{status}"] += 1
        return Verdict(again=again, dropped=dropped, why=why)


def _outcome(item: Any) -> tuple[int, str]:
    (own,) = item.values()
    error = own.get("error") or {}
    return int(own["status"]), f"{error.get('type', '')}: {error.get('reason', '')}"[:300]


def _id(record: Record) -> str:
    own = json.dumps([record.labels, record.place, record.text]).encode()
    return f"{record.at_ns}-{blake2b(own, digest_size=10).hexdigest()}"


def _document(record: Record) -> dict[str, Any]:
    seconds, rest = divmod(record.time_ns, _NS)
    at = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"
    told = {"@timestamp": at, "message": record.text, "place": record.place, "labels": dict(record.labels)}
    return {**told, "events": list(record.events), "severity": record.severity} if record.events else told
