"""Begins a span for a request, where spans are exported and the request is sampled."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable

from controlplane.gateway.recording import Trace
from controlplane.gateway.request import RequestHead
from controlplane.gateway.telemetry.tracing.context import SAMPLED, parent_of, traceparent

CONTENT_BYTES = 32 * 2**10
"""Most bytes of a request's body, and of an answer, in a span."""


class OpenSpan:
    """`Trace` of recording.py: the span of a request that has not ended."""

    __slots__ = ("answer", "body", "content", "flags", "header", "parent_id", "span_id", "started", "trace_id")

    def __init__(
        self, trace_id: bytes, span_id: bytes, parent_id: bytes, flags: int, started: float, *, content: bool
    ) -> None:
        self.trace_id, self.span_id, self.parent_id, self.flags = trace_id, span_id, parent_id, flags
        self.started = started
        """Unix seconds."""
        self.header = traceparent(trace_id, span_id, flags)
        self.content = content
        self.body = b""
        self.answer = bytearray()

    def asked(self, body: bytes) -> None:
        """Keep the beginning of the request's body, if content is exported."""
        if self.content:
            self.body = body[:CONTENT_BYTES]

    def answered(self, data: bytes) -> None:
        """Keep a piece of the answer's beginning, if content is exported."""
        if self.content and len(self.answer) < CONTENT_BYTES:
            self.answer += data[: CONTENT_BYTES - len(self.answer)]


class RequestTracer:
    """`Tracer` of recording.py.

    A caller's decision holds: its sampled requests are exported, others are not. `sample` is the share of the requests
    without a caller's span that begin a trace of their own.
    """

    def __init__(
        self,
        sample: float,
        *,
        content: bool = False,
        bits: Callable[[int], int] = secrets.randbits,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._sample, self._content, self._bits, self._chance = sample, content, bits, chance

    def start(self, head: RequestHead, unix: float) -> Trace | None:
        """Begin a span. None: the request is not sampled, and its header fields pass unchanged."""
        parent = parent_of(head.get(b"traceparent"))
        if parent is not None:
            return self._span(parent.trace_id, parent.span_id, parent.flags, unix) if parent.sampled else None
        if self._chance() >= self._sample:
            return None
        return self._span(self._id(16), b"", SAMPLED, unix)

    def _span(self, trace_id: bytes, parent_id: bytes, flags: int, unix: float) -> OpenSpan:
        # Of the flags only the defined ones go on: sampled, and the randomness of the trace id.
        return OpenSpan(trace_id, self._id(8), parent_id, flags & 0x03, unix, content=self._content)

    def _id(self, size: int) -> bytes:
        # An id of zeros is not valid.
        return b"%0*x" % (2 * size, self._bits(8 * size) or 1)
