"""Service level objectives (SLOs): the texts with which `slo.yaml` is filled for each of them.

Rates of requests and of errors are recorded every minute, and kept as long as recorded series are. Every longer window
is a sum over these recorded rates, so that it outlives the raw samples. An objective's budget is the share of requests
that may fail, and the burn rate is the share of failing requests as a multiple of the budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from collectors.durations import format_duration

DAY_S = 86400.0
FAILURES = "error|rejected|cut|timeout"
"""Outcomes that a client sees as a failure. An aborted request is the client's own doing."""
SOURCES = "gateway|proxy|probe"
"""Sources that see what clients see. The first that has numbers counts."""
METRICS = {"ttft": "llm_time_to_first_token_seconds", "e2e": "llm_request_duration_seconds"}
"""Canonical histogram of each latency."""


class Burn(NamedTuple):
    """A pair of windows and the share of the budget that is spent within the long one.

    The shares are those of the Site Reliability Workbook, chapter 5: for 30 days they are burn rates of 14.4, 6, 3, 1.
    """

    name: str
    long_s: float
    share: float


BURNS = (
    Burn("page_fast", 3600.0, 0.02),
    Burn("page_slow", 6 * 3600.0, 0.05),
    Burn("ticket_fast", DAY_S, 0.1),
    Burn("ticket_slow", 3 * DAY_S, 0.1),
)


@dataclass(frozen=True)
class Slo:
    """An objective of a model: `objective` is the share of good requests, above 0 and below 1."""

    model: str
    name: str
    objective: float
    window_s: float
    metric: Literal["", "ttft", "e2e"] = ""
    """Latency that is limited; "": a good request is one that does not fail."""
    below_s: float = 0.0
    """Seconds within which a request is good. A bound of the histogram."""

    @property
    def budget(self) -> float:
        """Share of requests that may be bad."""
        return round(1.0 - self.objective, 12)

    def factor(self, burn: Burn) -> float:
        """Return the burn rate above which `burn` alerts; never below 1, the rate that just uses up the budget."""
        return max(1.0, round(burn.share * self.window_s / burn.long_s, 6))

    @property
    def meaning(self) -> str:
        """Words for a good request."""
        if not self.metric:
            return "answered without a failure"
        what = "first token" if self.metric == "ttft" else "whole answer"
        return f"{what} within {format_duration(self.below_s)}"


def slo_texts(slo: Slo) -> dict[str, str]:
    """Return the placeholders of `slo.yaml` for an SLO.

    Two kinds of proxies one behind the other count the same requests, so they are not added up. A source without the
    bound of a latency says nothing about it.
    """
    by, one = "sum by (model, source, engine, simulated)", "max by (model, source, simulated)"
    chosen = f'model="{_quoted(slo.model)}",source=~"{SOURCES}"'
    if slo.metric:
        histogram = METRICS[slo.metric]
        count = f"{by} (rate({histogram}_count{{{chosen}}}[5m]))"
        good = f'{by} (rate({histogram}_bucket{{{chosen},le=~"{_bound(slo.below_s)}"}}[5m]))'
        requests = f"{one} ({count} and {good})"
        errors = f"{one} (clamp_min({count} - {good}, 0))"
    else:
        count = f"{by} (rate(llm_requests_total{{{chosen}}}[5m]))"
        failed = f'{by} (rate(llm_requests_total{{{chosen},outcome=~"{FAILURES}"}}[5m]))'
        requests = f"{one} ({count})"
        errors = f"{one} ({failed} or 0 * {count})"
    texts = {
        "model": slo.model,
        "name": slo.name,
        "objective": f"{slo.objective * 100:.10g}",
        "budget": f"{slo.budget:.10g}",
        "window": format_duration(slo.window_s),
        "days": f"{slo.window_s / DAY_S:.10g}",
        "meaning": slo.meaning,
        "requests": requests,
        "errors": errors,
        **{burn.name: f"{slo.factor(burn):.10g}" for burn in BURNS},
    }
    return {f"slo.{name}": text for name, text in texts.items()}


def _bound(seconds: float) -> str:
    """Return a regular expression for a bound as different exporters write it: 2, 2.0 and 2e+00 are one number."""
    short = f"{seconds:.12g}"
    return "|".join(text.replace(".", "[.]") for text in dict.fromkeys((short, str(float(seconds)))))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
