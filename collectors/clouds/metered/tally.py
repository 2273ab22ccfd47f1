"""Sums of a month's readings, as canonical metrics. Pure.

Counters are the sums since the month began (UTC), which a restart finds again. At the month's end they begin
anew, as at the restart of a server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from collectors.clouds.metered.periods import PERIOD_S
from collectors.clouds.report import MAX_SERIES, Item, Quantity, day_start, families
from collectors.errors import ExpositionError


class Measure(StrEnum):
    """Kind of what a reading counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    DURATION = "llm_request_duration_seconds"
    FIRST_TOKEN = "llm_time_to_first_token_seconds"  # noqa: S105 - the name of a metric
    GPU_UTILIZATION = "llm_account_gpu_utilization_ratio"
    QUOTA = "quota"
    """Tokens as the cloud counts them against a limit."""
    GPU_MEMORY = "llm_account_gpu_memory_utilization_ratio"


_DURATIONS = (Measure.DURATION, Measure.FIRST_TOKEN)
_GAUGES = {
    Measure.GPU_UTILIZATION: "Utilization added up over an instance's GPUs, in the last whole period.",
    Measure.GPU_MEMORY: "Used share of GPU memory added up over an instance's GPUs, in the last whole period.",
}
_WORDS = {
    Measure.DURATION: "Time from a request's arrival to its last token.",
    Measure.FIRST_TOKEN: "Time from a request's arrival to its first token.",
}
_OUTCOMES = {"429": "rejected", "408": "timeout", "504": "timeout", "499": "aborted"}
_STATUS_WORDS = {"success": "success", "clienterror": "invalid", "servererror": "error"}
_CLASSES = {"2": "success", "4": "invalid", "5": "error"}
SUM, COUNT = "sum", "count"
"""Kinds of a duration's readings."""


class Key(NamedTuple):
    """Name of a sum."""

    measure: Measure
    model: str
    kind: str = ""
    """The outcome of requests, the type of tokens, sum or count of durations."""
    reason: str = ""
    version: str = ""


class Reading(NamedTuple):
    """The number of one period, which began at `at` (unix seconds). Durations are seconds."""

    at: float
    key: Key
    value: float


def outcome_of(status: str) -> str:
    """Return the outcome of requests with a status: an HTTP status, or its class in words."""
    return _OUTCOMES.get(status) or _STATUS_WORDS.get(status.lower()) or _CLASSES.get(status[:1], "unknown")


class Tally:
    """The sums of one month."""

    def __init__(self, month: float) -> None:
        """`month` is its start in unix seconds."""
        self.month, self.end = month, month
        self._days: dict[tuple[float, Key], float] = {}
        self._shown: dict[Key, float] = {}
        self._last: dict[Key, float] = {}
        self._used: dict[tuple[str, Measure], float] = {}

    def again(self) -> Tally:
        """Return a tally of this month without readings. Its counters do not fall below those of this one."""
        anew = Tally(self.month)
        anew._shown = self._shown
        return anew

    def add(self, readings: Iterable[Reading], end: float) -> None:
        """Add the readings of all periods from the last `end` to this one."""
        self.end, self._last, self._used = end, {}, {}
        for at, key, value in readings:
            if key.measure in _GAUGES:
                if at == end - PERIOD_S:
                    self._last[key] = value
                continue
            if at == end - PERIOD_S and key.kind != "rejected":
                use = (key.model, key.measure)
                self._used[use] = self._used.get(use, 0.0) + value
            if key.measure is Measure.QUOTA:
                continue
            place = (day_start(at), key)
            self._days[place] = self._days.get(place, 0.0) + value

    def used(self, model: str, kind: str) -> float:
        """Return the mean use of a model in a minute of the last period.

        `kind` is requests or tokens. The cloud's own count against its limit is used where it has one.
        """
        measure = Measure.REQUESTS if kind == Measure.REQUESTS else Measure.TOKENS
        found = self._used.get((model, measure), 0.0)
        if measure is Measure.TOKENS:
            found = self._used.get((model, Measure.QUOTA), found)
        return found * 60 / PERIOD_S

    def families(self, read_at: float, costs: Iterable[Item] = ()) -> Iterator[Metric]:
        """Yield the metrics, those of `costs` too. `read_at` is in unix seconds.

        Raises ExpositionError for too many models.
        """
        sums = self._sums()
        if len(sums) > MAX_SERIES:
            raise ExpositionError(f"the account has {len(sums)} sums of models; {MAX_SERIES} are read at most", 0)
        yield from self._counters(sums)
        for measure, text in _GAUGES.items():
            gauge = GaugeMetricFamily(measure, text, labels=["served_model", "version"])
            for key, value in self._last.items():
                if key.measure is measure:
                    gauge.add_metric([key.model, key.version], value)
            if gauge.samples:
                yield gauge
        yield from families(chain(self._items(), costs), self.month, day_start(self.end - 1), read_at)
        yield GaugeMetricFamily(
            "llm_account_period_end_timestamp_seconds",
            "End of the last period in the provider's counts.",
            value=self.end,
        )

    def _sums(self) -> dict[Key, float]:
        sums: dict[Key, float] = {}
        for (_, key), value in self._days.items():
            sums[key] = sums.get(key, 0.0) + value
        # A difference of two numbers can shrink when the cloud puts a request and its error into two periods.
        self._shown = {key: max(value, self._shown.get(key, 0.0)) for key, value in sums.items()}
        return self._shown

    def _counters(self, sums: dict[Key, float]) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "llm_requests", "Finished requests by outcome.", labels=["served_model", "version", "outcome", "reason"]
        )
        tokens = CounterMetricFamily("llm_tokens", "Tokens by type.", labels=["served_model", "version", "type"])
        durations = {measure: Metric(measure, _WORDS[measure], "histogram") for measure in _DURATIONS}
        for key, value in sums.items():
            if key.measure is Measure.REQUESTS:
                requests.add_metric([key.model, key.version, key.kind, key.reason], value)
            elif key.measure is Measure.TOKENS:
                tokens.add_metric([key.model, key.version, key.kind], value)
            else:
                labels = {"served_model": key.model, "version": key.version}
                durations[key.measure].add_sample(f"{key.measure}_{key.kind}", labels, value)
        yield from (each for each in (requests, tokens, *durations.values()) if each.samples)

    def _items(self) -> Iterator[Item]:
        for (day, key), value in self._days.items():
            if key.measure is Measure.TOKENS:
                yield Item(Quantity.TOKENS, day, key.model, "", key.kind, value)
            elif key.measure is Measure.REQUESTS:
                yield Item(Quantity.REQUESTS, day, key.model, "", "", value)
