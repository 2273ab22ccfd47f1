"""Usage records for tests: `record(outcome=…)` is a good answer with a few fields changed."""

from __future__ import annotations

from typing import Any

from controlplane.gateway.recording import UsageRecord
from controlplane.gateway.request import Outcome

BACKEND = "http://10.0.0.7:8000"


def record(**changes: Any) -> UsageRecord:
    """Return the record of an answered request of 12 and 5 tokens."""
    fields: dict[str, Any] = {
        "at": 1_000_000.0,
        "request_id": "r1",
        "tenant": "acme",
        "key_id": "k1",
        "operation": "chat",
        "model": "chat",
        "version": "v1",
        "backend": BACKEND,
        "outcome": Outcome.OK,
        "status": 200,
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "cached_tokens": 4,
        "estimated": False,
        "queue_s": 0.0,
        "first_s": 0.2,
        "duration_s": 1.0,
        "attempts": 1,
    }
    return UsageRecord(**{**fields, **changes})
