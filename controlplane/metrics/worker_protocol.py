"""What the control plane and its query worker say to each other: frames over the worker's standard input and output.

    frame    length of the head (u32), length of the body (u32), head as JSON, body

A request's head is `{"id": n, "by": seconds, "call": name, "args": [...]}`; `by` is when the answer is of no use any
more, on the machine's monotonic clock, which both read. An answer's is `{"id": n}` with the body that was asked
for, as JSON, and its `warnings`; or `{"id": n, "kind": ..., "message": ...}` for a QueryError.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

HEAD = struct.Struct("<II")

MAX_FRAME = 2**31
"""Bytes of a head or a body."""

INSTANT, RANGE, SERIES, LABEL_NAMES, LABEL_VALUES = (
    "instant_json",
    "range_json",
    "series",
    "label_names",
    "label_values",
)
"""Calls; each is the method of `queries.Queries` of that name."""


class Frame(NamedTuple):
    """One message."""

    head: dict[str, Any]
    body: bytes = b""

    def encode(self) -> bytes:
        """Return its bytes."""
        head = json.dumps(self.head, separators=(",", ":")).encode()
        return HEAD.pack(len(head), len(self.body)) + head + self.body
