"""Synthetic requests of a rollout as counters, so that a look reads them as it reads clients' requests. Pure.

They are a stratum of their own: both versions get the same prompts at the same time. No gateway and no engine's series
of clients has them, so they are counted once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

from controlplane.gateway.telemetry import families as f
from controlplane.rollout.evidence import SOURCES
from controlplane.rollout.work.look_counters import SYNTHETIC, Counter, Counters, Values
from controlplane.rollout.work.look_sources import REQUESTS
from controlplane.rollout.work.top_up import TopUpCounts, VersionCounts

TARGET: Counters = {Counter("", SYNTHETIC, "", "", "", "", "", ""): {}}
"""Makes the instance of synthetic requests known before the first one, so that they count from 0."""
_TIMES: Mapping[str, tuple[f.Family, str]] = {
    "first_s": (f.ANSWER_FIRST, "llm_time_to_first_token_seconds"),
    "duration_s": (f.ANSWER_DURATION, "llm_request_duration_seconds"),
    "per_token_s": (f.EACH_TOKEN, "llm_time_per_output_token_seconds"),
    "tokens": (f.ANSWER_TOKENS, ""),
}
"""Histogram of the gateway and canonical name by field of VersionCounts."""


def synthetic(counts: TopUpCounts | None) -> dict[Counter, Values]:
    """Return the counters, under the names of every source: both versions are read from any one of them.

    None (nothing was counted since this process started) has no counters, as a target that is not scraped.
    """
    if counts is None:
        return {}
    return {
        counter: values for version, seen in counts.versions.items() for counter, values in _counters(version, seen)
    }


def _counters(version: str, seen: VersionCounts) -> Iterator[tuple[Counter, Values]]:
    for source in SOURCES:
        for finish, number in seen.finishes.items():
            counter = Counter(REQUESTS, SYNTHETIC, source, version, SYNTHETIC, "success", finish, "")
            yield counter, {"": float(number)}
        yield Counter(REQUESTS, SYNTHETIC, source, version, SYNTHETIC, "error", "", ""), {"": float(seen.failed)}
    for finish, number in seen.finishes.items():
        yield Counter(f.ANSWERS.name, SYNTHETIC, "", version, SYNTHETIC, "", "", finish), {"": float(number)}
    for family, number in ((f.EMPTY, seen.empty), (f.REFUSED, seen.refused)):
        yield Counter(family.name, SYNTHETIC, "", version, SYNTHETIC, "", "", ""), {"": float(number)}
    for name, (own, canonical) in _TIMES.items():
        bounds = (*map(str, own.bounds), "+Inf")
        values = {le: float(upto) for le, upto in zip(bounds, accumulate(getattr(seen, name)), strict=True)}
        yield Counter(f"{own.name}_bucket", SYNTHETIC, "", version, SYNTHETIC, "", "", ""), values
        if canonical:
            for source in SOURCES:
                yield Counter(f"{canonical}_bucket", SYNTHETIC, source, version, SYNTHETIC, "", "", ""), values
