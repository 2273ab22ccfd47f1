"""The counts of a probe's requests, as canonical metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from collectors.probe.misfit import MISFITS
from collectors.probe.rate_limits import RateLimit

DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0)
"""Bucket bounds in seconds. They are the same for every probe, because one sum by (le) needs equal buckets. 2.0 s is
the default latency threshold."""
FIRST_TOKEN_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Bucket bounds in seconds."""
_MISFITS = ("credentials", "token_limit", *(f"http_{status}" for status in sorted(MISFITS)))
_DECLARED = (
    ("success", ""),
    ("timeout", "timeout"),
    *(("rejected", reason) for reason in ("http_429", "http_503")),
    *(("error", f"http_{status}") for status in (500, 502, 504)),
    *(("error", reason) for reason in ("connect", "cut", "empty", "malformed", "stream_error", "unexpected_answer")),
    *((outcome, reason) for outcome in ("error", "invalid") for reason in _MISFITS),
)
"""(outcome, reason) pairs that are exposed at 0 from the start: ratios exist at once, and the first failure is an
increase."""


class Asked(NamedTuple):
    """Outcome of one request. Times are seconds since it was sent; `first_token_s` is None when no output came."""

    outcome: str
    reason: str
    duration_s: float
    first_token_s: float | None


class _Buckets:
    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, *, unfinished: bool = False) -> None:
        """Count one duration. An unfinished one counts as longer than any bound; the sum gets the time waited."""
        self._counts[-1 if unfinished else bisect_left(self._bounds, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True))


class Tally:
    """Counts requests, and yields the counts as canonical metrics."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._outcomes: dict[tuple[str, str], int] = dict.fromkeys(_DECLARED, 0)
        self._duration = _Buckets(DURATION_BUCKETS)
        self._first_token = _Buckets(FIRST_TOKEN_BUCKETS)
        self._limits: tuple[RateLimit, ...] = ()

    def add(self, asked: Asked, *, generates: bool = True) -> None:
        """Count one request. Refusals and errors are left out of the latencies: they are fast, and no answers.

        `generates`: the answer consists of tokens, so that it has a time to the first one.
        """
        key = (asked.outcome, asked.reason)
        self._outcomes[key] = self._outcomes.get(key, 0) + 1
        timed_out = asked.outcome == "timeout"
        if asked.outcome == "success" or timed_out:
            self._duration.observe(asked.duration_s, unfinished=timed_out)
        if not generates:
            return
        if asked.first_token_s is not None:
            self._first_token.observe(asked.first_token_s)
        elif timed_out:
            self._first_token.observe(asked.duration_s, unfinished=True)

    def limited(self, limits: tuple[RateLimit, ...]) -> None:
        """Remember the rate limits of an answer. An answer that states none changes nothing."""
        self._limits = limits or self._limits

    def families(self) -> Iterator[Metric]:
        """Yield the metric families. None of them has a `_created` sample."""
        names = ["source", "served_model"]
        own = ["probe", self._model]
        requests = CounterMetricFamily(
            "llm_requests", "Requests of the probe, by outcome and reason.", labels=[*names, "outcome", "reason"]
        )
        for key, count in self._outcomes.items():
            requests.add_metric([*own, *key], count)
        yield requests
        for name, text, buckets in (
            ("llm_request_duration_seconds", "Time from the request to the end of its answer.", self._duration),
            ("llm_time_to_first_token_seconds", "Time from the request to its first token.", self._first_token),
        ):
            family = HistogramMetricFamily(name, text, labels=names)
            family.add_metric(own, buckets.cumulative(), buckets.sum)
            yield family
        yield from self._limit_families()

    def _limit_families(self) -> Iterator[Metric]:
        for name, text, values in (
            ("llm_ratelimit_limit", "What the API's rate limit allows in its window.", [x.limit for x in self._limits]),
            ("llm_ratelimit_remaining", "What is left of it.", [x.remaining for x in self._limits]),
            ("llm_ratelimit_reset_seconds", "Time until it is whole again.", [x.reset_s for x in self._limits]),
        ):
            family = GaugeMetricFamily(name, text, labels=["source", "served_model", "type"])
            for limit, value in zip(self._limits, values, strict=True):
                if value is not None:
                    family.add_metric(["probe", self._model, limit.kind], value)
            if family.samples:
                yield family
