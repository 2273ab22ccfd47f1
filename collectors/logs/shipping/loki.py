"""Lines as Loki takes them: `POST /loki/api/v1/push`, in JSON.

Source: https://grafana.com/docs/loki/latest/reference/loki-http-api/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from collectors.logs.shipping.record import Record
from collectors.logs.shipping.verdict import Answer, Verdict, usual

_LATE = re.compile(r"entry too far behind|entry out of order|timestamp too old|timestamp too new")
"""Refusals of single entries. Loki stores the others of the request nevertheless."""
_IGNORED = re.compile(r"total ignored: ([0-9]{1,9}) out of ([0-9]{1,9})")


class Loki:
    """The dialect. Labels are those of the log, `event` and `filename`; each set of them is a stream of its own."""

    path = "/loki/api/v1/push"
    query: Mapping[str, str] = {}
    content_type = "application/json"

    def body(self, records: Sequence[Record]) -> bytes:
        """Return the streams of a request. Within a stream, lines keep their order."""
        streams: dict[tuple[object, ...], list[Record]] = {}
        for record in records:
            streams.setdefault((record.labels, record.events, record.place), []).append(record)
        told = [
            {"stream": _labels(own[0]), "values": [[str(r.time_ns), r.text] for r in own]} for own in streams.values()
        ]
        return json.dumps({"streams": told}).encode()

    def verdict(self, answer: Answer, records: Sequence[Record]) -> Verdict:
        """Judge an answer. Entries that come too late for their stream are dropped as `too_late`."""
        if answer.status == HTTPStatus.BAD_REQUEST:
            text = answer.body.decode(errors="replace")
            if _LATE.search(text):
                ignored = _IGNORED.findall(text)
                late = sum(int(number) for number, _ in ignored) if ignored else 1
                return Verdict(dropped={"too_late": min(late, len(records))}, why=answer.sentence)
        return usual(answer, records)


def _labels(record: Record) -> dict[str, str]:
    own = {"event": ",".join(record.events), "filename": record.place}
    return {name: value for name, value in {**own, **dict(record.labels)}.items() if value}
