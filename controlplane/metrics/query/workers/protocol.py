"""The protocol between the control plane and a query worker: frames over the worker's standard input and output.

    frame    length of the head (u32), length of the body (u32), head as JSON, body

A request's head is `{"id": n, "by": seconds, "call": name, "args": [...]}`. `by` is the deadline on the machine's
monotonic clock, which both processes read. `{"cancel": n}` means that nobody waits for answer n. The worker then ends
the query soon and still sends an answer.

A worker sends `{"id": 0}` once it has read the journal. An answer's head is `{"id": n, "warnings": [...], "infos":
[...]}`, and its body is the result. The head of a rule's answer is `{"id": n, "digest": ...}`; rule_answer.py has its
body. The head of a failed query is `{"id": n, "kind": ..., "message": ...}`, as in QueryError.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

HEAD = struct.Struct("<II")
READY = 0
"""The id of the message that a worker is ready. No request has it."""

RULE, INSTANT, RANGE, SERIES, LABEL_NAMES, LABEL_VALUES, EXPORT = (
    "instant",
    "instant_json",
    "range_json",
    "series",
    "label_names",
    "label_values",
    "export",
)
"""Names of calls. Each is a method of `queries.Queries` or `queries.Exports`."""


class WorkerMessage(NamedTuple):
    """One message."""

    head: dict[str, Any]
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the message as bytes."""
        head = json.dumps(self.head, separators=(",", ":")).encode()
        return HEAD.pack(len(head), len(self.body)) + head + self.body
