"""Origins of alerts on another metrics server. That server's `up` says whether a target's data can be believed."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

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

_REPORTS = ("up", "target_up")
"""Series about a target that say whether it answers. A target is not blind that only lacks one of them."""
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

    async def silent(self, rule: AlertingRule, known: Collection[str], at: float) -> Mapping[str, str]:
        """Return the targets of a rule's series that give no data; see alerts.origins.Origins."""
        ours = await self._own.silent(rule, known, at)
        asked = {_split(name) for name in known if name.partition("/")[0]}
        for read in self._own.read_by(rule):
            asked |= await self._writers(read.matchers, _span(FORGET_S), at)
        if not asked:
            return ours
        away, read_now = await self._away(asked, 0.0, at)
        blind = await self._blind(rule, asked & read_now, {}, at)
        return {**{_text(name): why for name, why in (*away.items(), *blind.items())}, **ours}

    async def _away(self, asked: Collection[Name], settle_s: float, at: float) -> tuple[dict[Name, str], set[Name]]:
        """Return the targets that the server cannot read, or has read for less than `settle_s`, with reasons.

        Then the targets that it can read.
        """
        worst = f"min_over_time({{}}[{_span(max(settle_s, FRESH_S))}])" if settle_s else "{}"
        # `up` must not have ended (the bare selector checks that) and must be fresh: late samples prove nothing.
        up = await self._up(asked, f"{worst} and {{}} and last_over_time({{}}[{_span(FRESH_S)}])", at)
        heard = await self._up(asked, f"last_over_time({{}}[{_span(FORGET_S)}])", at)
        down = dict.fromkeys(sorted(name for name in asked if up.get(name) == 0), "is down, by that server")
        silent = sorted((heard.keys() & set(asked)) - up.keys())
        return down | dict.fromkeys(silent, "is not heard of by that server"), {name for name in up if up[name]}

    async def _blind(
        self, rule: AlertingRule, asked: Collection[Name], had: Mapping[str, Collection[Name]], at: float
    ) -> dict[Name, str]:
        """Return the targets that answer without a metric that the rule reads, with reasons.

        `had` has the targets that had a metric, by its name. Any other target lacks its data when it has none of the
        metrics.
        """
        metrics = sorted({read.metric for read in self._own.read_by(rule)} - {"", *_REPORTS})
        if not asked or not metrics:
            return {}
        having: dict[str, set[Name]] = {}
        for metric in metrics:
            matchers = (Matcher("__name__", MatchOp.EQUAL, metric), *_of_targets(asked))
            having[metric] = await self._writers(matchers, "", at)
        blind: dict[Name, str] = {}
        for name in sorted(asked):
            lacks = [m for m in metrics if name in had.get(m, ()) and name not in having[m]]
            if lacks or not any(name in found for found in having.values()):
                blind[name] = f"answers without {(lacks or metrics)[0]}, by that server"
        return blind

    async def _writers(self, matchers: Iterable[Matcher], span: str, at: float) -> set[Name]:
        """Return the targets of matching series; with a span, of all series that had samples in it."""
        selector = _selector(matchers)
        series = f"last_over_time({selector}[{span}])" if span else selector
        samples = await self._querier.instant(f"group by (job, instance) ({series})", at)
        return {name for sample in samples if (name := _name(sample.labels))[0]}

    async def _ask(self, rule: AlertingRule, lost: Lost, at: float) -> Absence:
        instance = lost.instance
        known = {_split(name) for name in instance.away}
        had = {} if known else await self._targets(rule, lost, at)
        asked = known or {name for found in had.values() for name in found}
        if not asked:
            return Absence()
        away, read_now = await self._away(asked, self._own.lookback_s(rule) if known else 0.0, at)
        away |= await self._blind(rule, asked & read_now, had, at)
        if away:
            return Absence(tuple(_text(name) for name in away), next(iter(away.values())))
        heard = await self._up(asked, f"last_over_time({{}}[{_span(FORGET_S)}])", at)
        return Absence(removed=tuple(_text(name) for name in sorted(known - heard.keys())))

    async def _targets(self, rule: AlertingRule, lost: Lost, at: float) -> dict[str, set[Name]]:
        """Return the targets whose series contributed to an alert when it was last seen, at most an hour ago.

        They are by metric; "" for a selector that names none.
        """
        since = lost.instance.active_at if lost.seen_at is None else lost.seen_at
        span = _span(min(FORGET_S, max(0.0, at - since) + self._own.lookback_s(rule) + LOOKBACK_S))
        own = own_labels(rule, lost.instance.labels)
        found: dict[str, set[Name]] = {}
        for read in self._own.read_by(rule):
            found.setdefault(read.metric, set()).update(await self._writers(read.narrowed(own), span, at))
        return found

    async def _up(self, asked: Collection[Name], around: str, at: float) -> dict[Name, float]:
        selector = _selector((Matcher("__name__", MatchOp.EQUAL, "up"), *_of_targets(asked)))
        expr = f"min by (job, instance) ({around.replace('{}', selector)})"
        return {_name(sample.labels): sample.value for sample in await self._querier.instant(expr, at)}


def _of_targets(names: Collection[Name]) -> tuple[Matcher, Matcher]:
    jobs = "|".join(sorted({quoted(job) for job, _ in names}))
    instances = "|".join(sorted({quoted(instance) for _, instance in names}))
    return Matcher("job", MatchOp.RE, jobs), Matcher("instance", MatchOp.RE, instances)


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
