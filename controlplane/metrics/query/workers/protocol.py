"""What the control plane and a query worker say to each other: frames over the worker's standard input and output.

    frame    length of the head (u32), length of the body (u32), head as JSON, body

A request's head is `{"id": n, "by": seconds, "call": name, "args": [...]}`; `by` is when the answer is of no use any
more, on the machine's monotonic clock, which both read. `{"cancel": n}` says that nobody waits for an answer any more:
it comes nevertheless, as soon as the query notices.

A worker that has read what is stored says `{"id": 0}`. An answer's head is `{"id": n}` with the body that was asked
for, and its `warnings` and `infos`; or `{"id": n, "kind": ..., "message": ...}` for a QueryError.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

HEAD = struct.Struct("<II")
READY = 0
"""The number of no question."""

INSTANT, RANGE, SERIES, LABEL_NAMES, LABEL_VALUES, EXPORT = (
    "instant_json",
    "range_json",
    "series",
    "label_names",
    "label_values",
    "export",
)
"""Calls; each is the method of `queries.Queries` of that name."""


class WorkerMessage(NamedTuple):
    """One message."""

    head: dict[str, Any]
    body: bytes = b""

    def encode(self) -> bytes:
        """Return its bytes."""
        head = json.dumps(self.head, separators=(",", ":")).encode()
        return HEAD.pack(len(head), len(self.body)) + head + self.body
