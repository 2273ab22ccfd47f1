"""Conversion of works and their findings to and from stored records. What is kept for good is bounded in size."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

import msgspec

from alerts.errors import NotReadable
from alerts.stored import reading
from controlplane.rollout.findings import Finding, Sample, Work, WorkKind, WorkState
from controlplane.rollout.stored.shape import Shape
from controlplane.store.rollout_rows.findings import FindingRecord

log = logging.getLogger(__name__)

MAX_REASONS, MAX_SAMPLES, MAX_WORDS = 50, 100, 2000
"""Maximum numbers of reasons and samples of a finding, and of characters of a text. Chosen: some 100 KiB at most."""
MAX_CARRY = 256 * 1024
"""Maximum number of characters of a worker's own data (findings.Finding.carry)."""
_FINDING: Shape[Finding] = Shape(Finding, "finding")


def bounded(finding: Finding) -> Finding:
    """Return the finding as it can be stored: bounded in size, and without infinite numbers.

    A worker's own data above its limit is dropped: the worker begins anew.
    """
    if len(finding.carry) > MAX_CARRY:
        log.error("a worker's own data of %d characters is dropped; at most %d are kept", len(finding.carry), MAX_CARRY)
    return replace(
        finding,
        reasons=tuple(_text(reason) for reason in finding.reasons[:MAX_REASONS]),
        samples=tuple(_sample(sample) for sample in finding.samples[:MAX_SAMPLES]),
        enough_at=_finite(finding.enough_at),
        carry=finding.carry if len(finding.carry) <= MAX_CARRY else "",
    )


def to_record(state: WorkState) -> FindingRecord:
    """Return the record of a finished work."""
    assert state.finding is not None  # only a finished work is stored
    assert state.at is not None
    work = state.work
    document = msgspec.to_builtins(replace(state.finding, carry=""))
    return FindingRecord(
        work.kind.value,
        work.name,
        work.step,
        work.number,
        state.since,
        state.at,
        state.finding.outcome.value,
        document,
        state.finding.carry,
    )


def from_record(record: FindingRecord) -> WorkState:
    """Return the finished work of a record. Raises NotReadable."""
    with reading():
        work = Work(WorkKind(record.kind), record.step, record.name, record.number)
    finding = _FINDING.read(record.document)
    return WorkState(work, record.since, replace(finding, carry=record.carry), record.at)


def readable(records: list[FindingRecord]) -> list[WorkState]:
    """Return the finished works of the readable records."""
    found = []
    for record in records:
        try:
            found.append(from_record(record))
        except NotReadable as fault:
            log.error("a finding of kind %s cannot be read and is left as it is (%s)", record.kind, fault)
    return found


def _sample(sample: Sample) -> Sample:
    numbers: dict[str, Any] = {
        name: _finite(getattr(sample, name)) for name in ("candidate", "stable", "effect", "evidence", "fails_at")
    }
    counts: dict[str, Any] = {
        name: _finite(getattr(sample, name)) or 0.0 for name in ("candidate_requests", "stable_requests")
    }
    return replace(sample, words=_text(sample.words), **numbers, **counts)


def _finite(value: float | None) -> float | None:
    """Return the number, or None for an infinite one: JSON has none."""
    return value if value is None or math.isfinite(value) else None


def _text(text: str) -> str:
    text = text.replace("\x00", "�")
    return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]}…"
