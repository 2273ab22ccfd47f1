"""Origins of alerts on targets that this process scrapes.

The store says which targets an alert's series came from: it keeps the source of every series. The scraper says whether
these targets are healthy.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from alerts.errors import QueryFailed
from alerts.origins import Absence, Lost
from alerts.rules import AlertingRule, RecordingRule, RuleGroup
from collectors.samples import Labels
from collectors.target import TargetHealth
from controlplane.errors import QueryError
from controlplane.metrics.origins.reads import Read, reads
from controlplane.metrics.series.matchers import Matcher
from controlplane.metrics.series.source import RECORDED, WRITTEN

REPORT = "#report"
"""Suffix of the source of series about a target, such as `up`. They are written whether the target answers or not."""
NO_TARGETS = (*RECORDED, WRITTEN)
"""Prefixes of sources that are not targets of this process: recorded series, and series written from outside."""
_URL = re.compile(r"/(?=https?://|local:)")
LATE_S = 1.0
"""Seconds that a scrape may overrun its deadline before it is cut off. Its failure is written late by that time."""
SETTLE_SCRAPES = 2
"""Scrapes until a target that came back is believed: a rate needs two samples."""


class Rows(Protocol):
    """The part of the series store that this module needs."""

    def written_by(self, matchers: Sequence[Matcher]) -> list[tuple[Labels, tuple[str, ...]]]:
        """Return matching series, each with the sources that wrote it."""
        ...

    def newest_ms(self, source: str) -> int | None:
        """Return the unix milliseconds of a source's last row, end rows included. None without a row."""
        ...

    def ended_ms(self, source: str, metric: str) -> int | None:
        """Return the unix milliseconds of the end of a source's last series of a metric. None while it writes one."""
        ...


@dataclass(frozen=True)
class _Verdict:
    """The state of one target. If it is neither away nor removed, its data can be believed."""

    name: str
    away: bool = False
    why: str = ""
    removed: bool = False


class TargetOrigins:
    """Implements alerts.origins.Origins for targets of this process."""

    def __init__(
        self,
        store: Rows,
        health: Callable[[], Sequence[TargetHealth]],
        complete: Callable[[], bool] = lambda: True,
        is_canonical: Callable[[str], bool] = lambda _metric: False,
    ) -> None:
        """`complete` returns whether `health` lists every configured target. Until then no target counts as removed.

        `is_canonical` returns whether the catalogue knows a metric: it says in `TargetHealth.missing` when a target
        lacks one that it should have. A target lacks any other metric as soon as it has no series of that name left.
        """
        self._store, self._health, self._complete, self._is_canonical = store, health, complete, is_canonical
        self._recorded: dict[str, list[RecordingRule]] = {}
        self._lookbacks: Mapping[str, float] = {}
        self._reads: dict[str, tuple[Read, ...]] = {}

    def configure(self, groups: Iterable[RuleGroup], lookbacks: Mapping[str, float]) -> None:
        """Use these rules from now on. `lookbacks` has the seconds that each alerting rule looks back, by its id."""
        self._recorded = {}
        for group in groups:
            for rule in group.rules:
                if isinstance(rule, RecordingRule):
                    self._recorded.setdefault(rule.record, []).append(rule)
        self._lookbacks, self._reads = lookbacks, {}

    def read_by(self, rule: AlertingRule) -> tuple[Read, ...]:
        """Return the selectors that a rule reads. Raises QueryFailed when its expression is not valid."""
        if rule.id not in self._reads:
            try:
                self._reads[rule.id] = reads(rule.expr, self._recorded)
            except QueryError as error:
                raise QueryFailed(str(error)) from error
        return self._reads[rule.id]

    def lookback_s(self, rule: AlertingRule) -> float:
        """Return the seconds that a rule looks back."""
        return self._lookbacks.get(rule.id, 0.0)

    async def explain(self, rule: AlertingRule, lost: Sequence[Lost], at: float) -> Mapping[Labels, Absence]:
        """Return the alerts whose targets are away or removed; see alerts.origins.Origins.

        Raises QueryFailed when the rule's expression is not valid.
        """
        read, healths = self.read_by(rule), list(self._health())
        return await asyncio.to_thread(self._explain, rule, read, healths, lost, at)

    async def silent(self, rule: AlertingRule, known: Collection[str], at: float) -> Mapping[str, str]:
        """Return the targets of a rule's series that give no data; see alerts.origins.Origins."""
        read, healths = self.read_by(rule), list(self._health())
        return await asyncio.to_thread(self._silent, rule, read, healths, known, at)

    def _silent(
        self,
        rule: AlertingRule,
        read: tuple[Read, ...],
        healths: Sequence[TargetHealth],
        known: Collection[str],
        at: float,
    ) -> dict[str, str]:
        look = _Look(healths, self._complete(), self.lookback_s(rule), at)
        verdicts = [look.by_name(name, -math.inf) for name in known]
        verdicts += self._sources(look, self._series(read), (), -math.inf)
        complete, names = self._complete(), {_name(health) for health in healths}
        return {
            verdict.name: verdict.why
            for verdict in verdicts
            if verdict.away and (verdict.name in names or (not complete and verdict.name in known))
        }

    def _explain(
        self,
        rule: AlertingRule,
        read: tuple[Read, ...],
        healths: Sequence[TargetHealth],
        lost: Sequence[Lost],
        at: float,
    ) -> dict[Labels, Absence]:
        look = _Look(healths, self._complete(), self.lookback_s(rule), at)
        found: dict[Labels, Absence] = {}
        series: list[tuple[Read, list[tuple[Labels, tuple[str, ...]]]]] | None = None
        for instance, seen_at in lost:
            waits = seen_at if instance.unknown_since is None else instance.unknown_since
            stored = [look.by_name(name, instance.active_at if waits is None else waits) for name in instance.away]
            absence = _absence(stored)
            if not absence.away:
                series = series if series is not None else self._series(read)
                since = instance.active_at if waits is None else waits
                own = own_labels(rule, instance.labels)
                fresh = self._sources(look, series, own, since)
                absence = _absence([*stored, *fresh])
            if absence.away or absence.removed:
                found[instance.labels] = absence
        return found

    def _series(self, read: Iterable[Read]) -> list[tuple[Read, list[tuple[Labels, tuple[str, ...]]]]]:
        try:
            return [(one, self._store.written_by(one.matchers)) for one in read]
        except QueryError as error:
            raise QueryFailed(str(error)) from error

    def _sources(
        self,
        look: _Look,
        series: Iterable[tuple[Read, list[tuple[Labels, tuple[str, ...]]]]],
        own: Labels,
        since: float,
    ) -> Iterator[_Verdict]:
        """Yield the states of the sources that wrote series of an alert, if they can explain that the alert is gone."""
        done: set[tuple[str, str]] = set()
        for one, written in series:
            for labels, sources in written:
                for source in sources:
                    if (source, one.metric) in done or not one.fits(labels, own):
                        continue
                    done.add((source, one.metric))
                    if verdict := look.by_source(source, one.metric, self._store.newest_ms(source), since):
                        yield verdict
                    elif gone := self._vanished(look, source, one.metric, since):
                        yield gone

    def _vanished(self, look: _Look, source: str, metric: str, since: float) -> _Verdict | None:
        """Return a verdict on a healthy target that has no series of a metric left, such as a renamed one."""
        if not metric or self._is_canonical(metric) or source.startswith(NO_TARGETS) or source.endswith(REPORT):
            return None
        ended_ms = self._store.ended_ms(source, metric)
        return None if ended_ms is None else look.without(source, metric, ended_ms, since)


class _Look:
    """The targets at one moment."""

    def __init__(self, healths: Iterable[TargetHealth], complete: bool, lookback_s: float, at: float) -> None:
        self._complete, self._lookback_s, self._at = complete, lookback_s, at
        self._by_key: dict[str, TargetHealth] = {}
        self._by_name: dict[str, list[TargetHealth]] = {}
        for health in healths:
            self._by_key[health.target.key] = health
            self._by_name.setdefault(_name(health), []).append(health)

    def by_name(self, name: str, since: float) -> _Verdict:
        """Return the state of a target that was away at unix second `since`."""
        verdicts = [
            self._unread(h) or self._unseen(h) or self._settling(h, known_away=True)
            for h in self._by_name.get(name, ())
        ]
        return next((v for v in verdicts if v), _Verdict(name)) if verdicts else self._unlisted(name, since)

    def by_source(self, source: str, metric: str, newest_ms: int | None, since: float) -> _Verdict | None:
        """Return the state of the target whose source wrote a series of `metric`.

        Return None when its data can be believed, or when it cannot be the reason that an alert seen at `since` is
        gone.
        """
        if newest_ms is None or source.startswith(NO_TARGETS):
            return None
        about = source.removesuffix(REPORT)
        health, reach_s = self._by_key.get(about), since - self._lookback_s - LATE_S
        if health is None:
            return self._unlisted(_name_in(about), newest_ms / 1000) if newest_ms / 1000 >= reach_s else None
        if about != source:  # these series are written whether the target answers or not
            return None
        reach_s -= health.target.interval_s + health.target.timeout_s
        if unread := self._unread(health):
            return unread if newest_ms / 1000 >= reach_s else None
        if health.since is not None and health.since >= reach_s:
            return _blind(health, metric) or self._unseen(health) or self._settling(health, known_away=False)
        return None

    def without(self, source: str, metric: str, ended_ms: int, since: float) -> _Verdict | None:
        """Return a verdict on a target whose last series of a metric ended; None when an alert outlived that end."""
        health = self._by_key.get(source)
        if health is None or health.health != "up":
            return None
        reach_s = since - self._lookback_s - LATE_S - health.target.interval_s - health.target.timeout_s
        if ended_ms / 1000 < reach_s:
            return None
        return _Verdict(_name(health), away=True, why=f"answers without {metric}")

    def _unlisted(self, name: str, since: float) -> _Verdict:
        if not self._complete:
            return _Verdict(name, away=True, why="is not known yet: the targets have not all been read")
        if successor := self._successor(name, since):
            return _Verdict(name, away=True, why=f"is no longer configured, and {successor} has no data yet")
        return _Verdict(name, removed=True)

    def _successor(self, name: str, since: float) -> str:
        """Return a target of the same job that came after `since` and whose data cannot be believed yet, or "".

        A replaced pod has another address. Its alerts must not end before the new one is heard.
        """
        job = name.partition("/")[0]
        for health in (h for found in self._by_name.values() for h in found if h.target.job == job):
            is_new = health.since is None or health.since >= since - health.target.interval_s
            blind = self._unread(health) or self._unseen(health) or self._settling(health, known_away=False, new=True)
            if is_new and blind:
                return _name(health)
        return ""

    def _unread(self, health: TargetHealth) -> _Verdict | None:
        if health.health == "unknown":
            return _Verdict(_name(health), away=True, why="has not been asked yet")
        if health.health == "down":
            return _Verdict(
                _name(health), away=True, why=f"cannot be read: {health.last_error or 'no reason is known'}"
            )
        return None

    def _unseen(self, health: TargetHealth) -> _Verdict | None:
        """Return a verdict on a target that came back during the evaluation. Its queries could not see the target."""
        if health.known_since is None or health.known_since <= self._at:
            return None
        return _Verdict(_name(health), away=True, why="has only just come back")

    def _settling(self, health: TargetHealth, *, known_away: bool, new: bool = False) -> _Verdict | None:
        """Return a verdict on a target that came back too recently to fill the windows that a rule reads.

        A target that missed a scrape or two and was not found away leaves enough samples in a window for every
        function, except a rate over two scrapes.
        """
        if not self._lookback_s or health.since is None or not (known_away or new or health.recovered):
            return None
        settle_s = (self._lookback_s if known_away else 0.0) + SETTLE_SCRAPES * health.target.interval_s
        if self._at >= health.since + settle_s:
            return None
        return _Verdict(_name(health), away=True, why="has only just come back")


def own_labels(rule: AlertingRule, labels: Labels) -> Labels:
    """Return an alert's labels without the labels that its rule sets."""
    made = {name for name, _ in rule.labels} | {"alertname"}
    return tuple((name, value) for name, value in labels if name not in made)


def _absence(verdicts: Collection[_Verdict]) -> Absence:
    away = [v for v in verdicts if v.away]
    if away:
        return Absence(tuple(dict.fromkeys(v.name for v in away)), away[0].why)
    return Absence(removed=tuple(dict.fromkeys(v.name for v in verdicts if v.removed)))


def _name(health: TargetHealth) -> str:
    return f"{health.target.job}/{health.target.instance}"


def _blind(health: TargetHealth, metric: str) -> _Verdict | None:
    if health.samples == 0:
        return _Verdict(_name(health), away=True, why="answers without a single sample")
    lacks = next((family for family in health.missing if _of_family(metric, family)), None)
    return _Verdict(_name(health), away=True, why=f"answers without {lacks}") if lacks else None


def _name_in(key: str) -> str:
    """Return `job/instance` from a target's key `job/instance/url`."""
    return _URL.split(key, maxsplit=1)[0]


def _of_family(metric: str, family: str) -> bool:
    return metric == family or metric.removeprefix(family) in ("_bucket", "_count", "_sum")
