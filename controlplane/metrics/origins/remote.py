"""Origins of alerts on another metrics server. That server's `up` says whether a target's data can be believed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from alerts.interfaces import Querier
from alerts.origins import Absence, Lost
from alerts.rules import AlertingRule
from collectors.durations import format_duration
from collectors.samples import Labels
from controlplane.metrics.origins.reads import quoted
from controlplane.metrics.origins.targets import TargetOrigins, own_labels
from controlplane.metrics.series.budget import LOOKBACK_S
from controlplane.metrics.series.matchers import Matcher, MatchOp

FORGET_S = 3600.0
"""Seconds without any `up` after which a target counts as removed. Chosen: that server's configuration is unknown."""
FRESH_S = 75.0
"""Maximum age of a target's last `up`, in seconds, to conclude that a series without samples is gone. Chosen: a scrape
interval of one minute, and a reserve."""

_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Name = tuple[str, str]
"""The labels (job, instance) of a target."""


class RemoteOrigins:
    """Implements alerts.origins.Origins where another server answers queries.

    It covers that server's targets, and this process's own targets whose samples are sent there.
    """

    def __init__(self, querier: Querier, own: TargetOrigins) -> None:
        self._querier, self._own = querier, own

    async def explain(self, rule: AlertingRule, lost: Sequence[Lost], at: float) -> Mapping[Labels, Absence]:
        """Return the alerts whose targets are away or removed. Raises QueryFailed when the server does not answer."""
        ours = await self._own.explain(rule, lost, at)
        found = {labels: absence for labels, absence in ours.items() if absence.away}
        for one in lost:
            labels = one.instance.labels
            if labels not in found:
                absence = await self._ask(rule, one, at)
                if absence.away or absence.removed:
                    found[labels] = absence
        return found

    async def _ask(self, rule: AlertingRule, lost: Lost, at: float) -> Absence:
        instance = lost.instance
        known = {_split(name) for name in instance.away}
        asked = known or await self._targets(rule, lost, at)
        if not asked:
            return Absence()
        settle_s = self._own.lookback_s(rule) if known else 0.0
        worst = f"min_over_time({{}}[{_span(max(settle_s, FRESH_S))}])" if settle_s else "{}"
        # `up` must not have ended (the bare selector checks that) and must be fresh: late samples prove nothing.
        up = await self._up(asked, f"{worst} and {{}} and last_over_time({{}}[{_span(FRESH_S)}])", at)
        heard = await self._up(asked, f"last_over_time({{}}[{_span(FORGET_S)}])", at)
        down = sorted(name for name in asked if up.get(name) == 0)
        silent = sorted((heard.keys() & asked) - up.keys())
        if down or silent:
            why = "is down, by that server" if down else "is not heard of by that server"
            return Absence(tuple(_text(name) for name in (*down, *silent)), why)
        return Absence(removed=tuple(_text(name) for name in sorted(known - heard.keys())))

    async def _targets(self, rule: AlertingRule, lost: Lost, at: float) -> set[Name]:
        """Return the targets whose series contributed to an alert when it was last seen, at most an hour ago."""
        since = lost.instance.active_at if lost.seen_at is None else lost.seen_at
        span = _span(min(FORGET_S, max(0.0, at - since) + self._own.lookback_s(rule) + LOOKBACK_S))
        own = own_labels(rule, lost.instance.labels)
        found: set[Name] = set()
        for read in self._own.read_by(rule):
            selector = _selector(read.narrowed(own))
            samples = await self._querier.instant(f"group by (job, instance) (last_over_time({selector}[{span}]))", at)
            found |= {_name(sample.labels) for sample in samples}
        return {name for name in found if name[0]}

    async def _up(self, asked: Iterable[Name], around: str, at: float) -> dict[Name, float]:
        jobs = "|".join(sorted({quoted(job) for job, _ in asked}))
        instances = "|".join(sorted({quoted(instance) for _, instance in asked}))
        matchers = [Matcher("__name__", MatchOp.EQUAL, "up"), Matcher("job", MatchOp.RE, jobs)]
        selector = _selector([*matchers, Matcher("instance", MatchOp.RE, instances)])
        expr = f"min by (job, instance) ({around.replace('{}', selector)})"
        return {_name(sample.labels): sample.value for sample in await self._querier.instant(expr, at)}


def _name(labels: Labels) -> Name:
    pairs = dict(labels)
    return pairs.get("job", ""), pairs.get("instance", "")


def _text(name: Name) -> str:
    return "/".join(name)


def _split(text: str) -> Name:
    job, _, instance = text.partition("/")
    return job, instance


def _span(seconds: float) -> str:
    return format_duration(max(1.0, float(round(seconds))))


def _selector(matchers: Iterable[Matcher]) -> str:
    return "{" + ",".join(f"{_label(m.name)}{m.op}{_literal(m.value)}" for m in matchers) + "}"


def _label(name: str) -> str:
    return name if _LEGACY_LABEL.fullmatch(name) else _literal(name)


def _literal(text: str) -> str:
    """Return a string literal of PromQL. JSON's escapes are a subset of Go's."""
    return json.dumps(text, ensure_ascii=False)
