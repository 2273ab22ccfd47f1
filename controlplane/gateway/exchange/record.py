"""The record of one request."""

from __future__ import annotations

import time

from controlplane.gateway.desired.document import ModelSpec
from controlplane.gateway.exchange.answer import End
from controlplane.gateway.recording import Trace, UsageRecord
from controlplane.gateway.request import Caller, Content, Operation, TokenCounts
from controlplane.gateway.seams import Choice


def record_of(
    end: End,
    status: int,
    counts: TokenCounts,
    request_id: str,
    caller: Caller,
    operation: Operation | None,
    model: ModelSpec | None,
    choice: Choice | None,
    asked_model: str,
    queue_s: float,
    first_s: float | None,
    duration_s: float,
    attempts: int,
    trace: Trace | None,
    streamed: bool = False,
    content: Content | None = None,
) -> UsageRecord:
    """Return the record. `choice` is that of the last attempt; `asked_model` is set when a fallback answered for it.

    All arguments go by place, here and to the record: by name they take twice as long, for each request.
    """
    version = backend = ""
    degraded_from = asked_model
    if choice is not None:
        model, version, backend = choice.model, choice.version, choice.backend.url
        degraded_from = asked_model or choice.degraded_from
    return UsageRecord(
        time.time(),
        request_id,
        caller.tenant,
        caller.key_id,
        "" if operation is None else operation.name,
        "" if model is None else model.name,
        version,
        backend,
        end.outcome,
        status,
        counts.prompt,
        counts.completion,
        counts.cached,
        counts.estimated,
        queue_s,
        first_s,
        duration_s,
        attempts,
        degraded_from,
        end.reason,
        trace,
        streamed,
        content,
    )
