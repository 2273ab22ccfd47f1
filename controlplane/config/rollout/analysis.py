"""`analysis:` of a rollout: how often the candidate's numbers are looked at, and what counts against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.rollout.steps import Ratio, Share
from controlplane.config.vocabulary import Interval, Model, Name, whole_text
from controlplane.config.wording import not_one_of

MetricName = Literal["errors", "ttft", "inter-token", "duration", "truncated", "empty", "refused", "output-tokens"]
METRICS: tuple[str, ...] = get_args(MetricName)
Expression = Annotated[str, AfterValidator(whole_text), Field(min_length=1, max_length=4096)]
"""PromQL. Whether it can be evaluated is checked with the rest of the file's surroundings."""


def named(field: str) -> BeforeValidator:
    """Return a validator that reads each text of a list as a map: "errors" → {field: "errors"}."""

    def each(value: Any) -> Any:
        items = [value] if isinstance(value, str | dict) else value
        if not isinstance(items, list | tuple):
            return value
        return [{field: item} if isinstance(item, str) else item for item in items]

    return BeforeValidator(each)


class ComparisonSection(Model):
    """One metric of the candidate against the stable version."""

    metric: MetricName
    tolerance: Share | None = None
    """Size of a difference that is no fault. Default: by the metric."""
    dry_run: bool = False


class LimitSection(Model):
    """A PromQL expression with a limit."""

    name: Name
    expr: Expression
    at_most: float | None = None
    at_least: float | None = None
    dry_run: bool = False

    @check
    def _has_a_limit(self) -> Iterator[Fault]:
        if self.at_most is None and self.at_least is None:
            yield Fault((), "needs at_most: or at_least:")
        elif self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            yield Fault(("at_least",), f"{self.at_least:g} is more than at_most ({self.at_most:g}); nothing would pass")


class AnalysisSection(Model):
    """Looks at the candidate's numbers."""

    interval: Annotated[Interval, Field(ge=5)] = 60.0
    minimum_requests: int = Field(default=100, ge=1, le=10_000_000, strict=True)
    failures: int = Field(default=0, ge=0, le=100, strict=True)
    """Number of looks that may fail by a threshold."""
    patience: Interval = 1800.0
    """Duration for which a step waits for enough data before the rollout waits for an operator."""
    false_alarms: Annotated[Ratio, Field(gt=0, le=0.2)] = 0.01
    """Bound on the probability that an equal candidate is rolled back."""
    compare: Annotated[tuple[ComparisonSection, ...] | None, named("metric")] = None
    """Default: every metric."""
    thresholds: Annotated[tuple[LimitSection, ...], Field(max_length=20)] = ()
    dry_run: tuple[Name, ...] = ()
    """Names of metrics and thresholds that are only reported."""

    @check
    def _metrics_differ(self) -> Iterator[Fault]:
        seen: set[str] = set()
        for number, one in enumerate(self.compare or ()):
            if one.reads("metric") and one.metric in seen:
                yield Fault(("compare", number, "metric"), f"{one.metric} is compared twice; keep one of them")
            elif one.reads("metric"):
                seen.add(one.metric)

    @check
    def _names_of_thresholds_differ(self) -> Iterator[Fault]:
        seen: set[str] = set(METRICS)
        for number, limit in enumerate(self.thresholds):
            if limit.reads("name") and limit.name in seen:
                yield Fault(("thresholds", number, "name"), f"{limit.name} is the name of another threshold or metric")
            elif limit.reads("name"):
                seen.add(limit.name)

    @check
    def _dry_runs_are_known(self) -> Iterator[Fault]:
        known = [*METRICS, *(limit.name for limit in self.thresholds)]
        for number, name in enumerate(self.dry_run):
            if name not in known:
                yield Fault(("dry_run", number), not_one_of(name, "metrics and thresholds", known))
