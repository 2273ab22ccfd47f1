"""Trials of rules: a rule that nobody has loaded, evaluated over the stored history."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from alerts.errors import RuleError
from alerts.interfaces import VectorSample
from alerts.rules import AlertingRule, RuleGroup, check_expr, parse_rules
from alerts.trial import Episode, Instants, episodes
from collectors.durations import format_duration
from collectors.samples import labels_of
from controlplane.errors import MalformedRequest, QueryError
from controlplane.fleet.view import View, finite, instant, rfc3339
from controlplane.metrics.query.queries import Queries
from controlplane.metrics.query.render import TRUNCATED
from controlplane.ruletest.lint import LintFinding, lint

MOST_TEXT = 32_000
"""Characters of a rule. Chosen: far above any rule, and an address may hold it."""
MOST_POINTS = 3000
"""Evaluations of a trial. A longer range has a longer step, and the answer says so."""
MOST_SERIES = 500
MOST_SAMPLES = 100_000
"""Results of all evaluations. Chosen: about a second of work."""
MOST_EPISODES = 1000
"""Episodes of an answer, the newest ones. The totals count all."""
LONGEST_S = 31 * 86400.0
TIMEOUT_S = 15.0
FILE = "rule"
"""Name of the text in findings."""
_HEAD = "groups:\n- name: trial\n  rules:\n"
_ALERT = "Tried"


class TrialFinding(View):
    """Fault of a rule, or a doubt about it."""

    line: int
    """Line of the text, from 1; 0: unknown."""
    level: str
    """error or warning."""
    sentence: str


class EpisodeOfTrial(View):
    """One time for which the rule would have been pending or firing."""

    labels: dict[str, str]
    active_at: str
    fired_at: str | None
    """Null: it was pending only."""
    ended_at: str | None
    """Null: it is active at the end of the range."""
    peak: float | None
    """The value farthest from zero."""


class AlertOfTrial(View):
    """Summary of what the alert of one set of labels would have done."""

    labels: dict[str, str]
    fired: int
    """How often it fired."""
    firing_seconds: float
    longest_seconds: float
    pending_only: int
    """How often it was pending without firing."""


class TrialView(View):
    """When a rule would have fired."""

    findings: tuple[TrialFinding, ...]
    """In the words of `cp rules check`. With an error among them nothing was evaluated."""
    evaluated: bool
    expr: str
    for_seconds: float
    start: str
    end: str
    step_seconds: float
    """Seconds between two evaluations. Above the rule's own interval, short firings are not seen."""
    interval_seconds: float
    """The rule's own interval."""
    fired: int
    """How often any alert fired."""
    alerts: tuple[AlertOfTrial, ...] = ()
    """The alerts, those that fired longest first."""
    episodes: tuple[EpisodeOfTrial, ...] = ()
    """The newest episodes, oldest first."""


class Trial(NamedTuple):
    """A rule, and the range over which it is tried. Times are unix seconds."""

    text: str
    """An expression, one rule in YAML, or a rule file with one alerting rule."""
    for_s: float
    """`for` of an expression; a rule has its own."""
    start: float
    end: float
    interval_s: float
    """Interval of an expression, of a rule, and of a group that sets none."""


class _Read(NamedTuple):
    rule: AlertingRule | None
    findings: list[LintFinding]
    interval_s: float | None = None
    """Interval of the rule's group. None: it sets none."""


async def tried(queries: Queries, trial: Trial, asker: str = "") -> TrialView:
    """Evaluate a rule over a range of the stored history.

    Raises MalformedRequest for a range or a text that is too long and for a result that is too large, and QueryError.
    """
    _checked(trial)
    read = await asyncio.to_thread(_read, trial.text, trial.for_s)
    rule = read.rule
    trial = trial._replace(interval_s=read.interval_s or trial.interval_s)
    for_s = rule.for_s if rule else 0.0
    if for_s > LONGEST_S:
        raise MalformedRequest(f"for must last {format_duration(LONGEST_S)} at most: a trial looks back no further")
    times = _times(trial, for_s)
    found: list[Episode] = []
    if rule is not None:
        answer = await queries.range_json(
            rule.expr, times.start, times.end, times.step_s, limit=MOST_SERIES, timeout_s=TIMEOUT_S, asker=asker
        )
        if TRUNCATED in answer.warnings:
            raise MalformedRequest(f"the expression has more than {MOST_SERIES} series: aggregate it, or select fewer")
        found = await asyncio.to_thread(_episodes, rule, answer.data, times)
    kept = [one for one in found if one.ended_at is None or one.ended_at > trial.start]
    return _view(trial, rule, read.findings, times, kept)


def _checked(trial: Trial) -> None:
    if len(trial.text) > MOST_TEXT:
        raise MalformedRequest(f"the rule has {len(trial.text)} characters: the most is {MOST_TEXT}")
    if not trial.text.strip():
        raise MalformedRequest("the rule is empty: give an expression, such as gpu_temperature_celsius > 85, or a rule")
    if not 0 < trial.end - trial.start <= LONGEST_S:
        raise MalformedRequest(f"the range must end after its start and last {format_duration(LONGEST_S)} at most")


def _times(trial: Trial, for_s: float) -> Instants:
    """Return the times of the evaluations. They begin `for` before the range, so that its begin is judged too."""
    length = trial.end - trial.start + for_s
    steps = max(1, math.ceil(length / MOST_POINTS / trial.interval_s))
    step_s = steps * trial.interval_s
    end = math.floor(trial.end / step_s) * step_s
    return Instants(end - math.floor(length / step_s) * step_s, end, step_s)


def _read(text: str, for_s: float) -> _Read:
    """Return the rule of a text, and what is wrong with it."""
    faults: list[RuleError] = []
    if not _is_yaml(text):
        return _of_expression(text.strip(), for_s)
    lines, head = text.rstrip().split("\n"), ""
    if not any(line.startswith(("groups:", "apiVersion:")) for line in lines):
        first = next(number for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#"))
        is_list = lines[first].lstrip().startswith("- ")
        lines = [
            ("  " if is_list else "  - " if number == first else "    ") + line for number, line in enumerate(lines)
        ]
        head = _HEAD
    try:
        groups = parse_rules(head + "\n".join(lines), FILE, faults)
    except RuleError as error:
        groups, faults = (), [error]
    findings = [one._replace(line=max(0, one.line - head.count("\n"))) for one in lint(groups, faults)]
    rules = [(rule, group) for group in groups for rule in group.rules if isinstance(rule, AlertingRule)]
    if len(rules) != 1 and not faults:
        findings.insert(0, LintFinding(FILE, 0, "error", f"{len(rules)} alerting rules are given: give one"))
    if len(rules) != 1 or faults:
        return _Read(None, findings)
    ((rule, group),) = rules
    return _Read(rule, findings, group.interval_s)


def _of_expression(expr: str, for_s: float) -> _Read:
    try:
        check_expr(expr)
    except ValueError as error:
        return _Read(None, [LintFinding(FILE, _line_of(str(error)), "error", f"expr: {error}")])
    rule = AlertingRule(id=FILE, alert=_ALERT, expr=expr, for_s=for_s, says_for=True)
    found = lint([RuleGroup(FILE, "trial", (rule,))])
    prefix = f"group trial: {_ALERT}: "
    told = [one._replace(line=0, sentence=one.sentence.removeprefix(prefix)) for one in found]
    return _Read(rule, [one for one in told if "runbook_url" not in one.sentence])


def _is_yaml(text: str) -> bool:
    """Return whether a text is a rule and no expression: one of its lines begins a field of a rule."""
    fields = ("alert: ", "record: ", "expr: ", "groups: ", "apiVersion: ")  # `alert:errors:sum` is a metric
    return any(f"{line.strip().removeprefix('- ')} ".startswith(fields) for line in text.split("\n"))


def _line_of(message: str) -> int:
    line = message.partition(":")[0]
    return int(line) if line.isdigit() else 1


def _episodes(rule: AlertingRule, data: bytes, times: Instants) -> list[Episode]:
    results: dict[int, list[VectorSample]] = {}
    total = 0
    for labels, values in _series(orjson.loads(data), times):
        total += len(values)
        if total > MOST_SAMPLES:
            raise MalformedRequest(
                f"the expression has more than {MOST_SAMPLES} results: aggregate it, or take a shorter range"
            )
        for number, value in values:
            results.setdefault(number, []).append(VectorSample(labels, value))
    try:
        return episodes(rule, results, times)
    except RuleError as error:
        raise QueryError("execution", str(error)) from error


def _series(data: Mapping[str, Any], times: Instants) -> list[tuple[Any, list[tuple[int, float]]]]:
    """Return each series' labels, and its values by the number of their time."""
    return [
        (
            labels_of(one["metric"]),
            [(round((at - times.start) / times.step_s), float(value)) for at, value in one["values"]],
        )
        for one in data["result"]
    ]


def _view(
    trial: Trial, rule: AlertingRule | None, findings: Sequence[LintFinding], times: Instants, found: list[Episode]
) -> TrialView:
    alerts: dict[Any, list[Episode]] = {}
    for one in found:
        alerts.setdefault(one.labels, []).append(one)
    views = sorted((_alert(of, times.end) for of in alerts.values()), key=lambda a: (-a.firing_seconds, -a.fired))
    return TrialView(
        findings=tuple(TrialFinding(line=f.line, level=f.level, sentence=f.sentence) for f in findings),
        evaluated=rule is not None,
        expr=rule.expr if rule else "",
        for_seconds=rule.for_s if rule else trial.for_s,
        start=instant(trial.start),
        end=instant(trial.end),
        step_seconds=times.step_s,
        interval_seconds=trial.interval_s,
        fired=sum(one.fired_at is not None for one in found),
        alerts=tuple(views),
        episodes=tuple(
            EpisodeOfTrial(
                labels=_labels(one),
                active_at=instant(one.active_at),
                fired_at=rfc3339(one.fired_at),
                ended_at=rfc3339(one.ended_at),
                peak=finite(one.peak),
            )
            for one in found[-MOST_EPISODES:]
        ),
    )


def _alert(of: Sequence[Episode], end: float) -> AlertOfTrial:
    lengths = [(one.ended_at or end) - one.fired_at for one in of if one.fired_at is not None]
    return AlertOfTrial(
        labels=_labels(of[0]),
        fired=len(lengths),
        firing_seconds=sum(lengths),
        longest_seconds=max(lengths, default=0.0),
        pending_only=len(of) - len(lengths),
    )


def _labels(episode: Episode) -> dict[str, str]:
    labels = dict(episode.labels)
    return labels if labels.get("alertname") != _ALERT else {k: v for k, v in labels.items() if k != "alertname"}
