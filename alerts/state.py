"""The alert state machine: one pure step per rule and evaluation, after Prometheus's compliance specification.

- A new result is pending. It fires when evaluation time - active_at >= `for`; without `for` it fires at once.
- An alert whose result is gone resolves at once, unless `keep_firing_for` holds it. If it recurs, it is a new alert.
- Two results with the same labels make the whole rule fail. No alert changes then.
- An alert whose result is gone because its targets are away keeps its state, and is marked unknown. So is every alert
  while its rule cannot be evaluated. The rule's policy (`alerts/no_data.py`) says what happens after some time.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from alerts.changes import earlier_changes, last_episode
from alerts.errors import RuleError, TemplateError
from alerts.gotemplate.goformat import go_float, humanize_duration
from alerts.interfaces import AlertInstance, AlertState, Transition, VectorSample
from alerts.no_data import NO_DATA, QUERY, Action
from alerts.origins import Absence
from alerts.rules import AlertingRule
from alerts.template import Surroundings, Template
from collectors.samples import Labels, labels_of

RESOLVED_RETENTION_S = 15 * 60.0
"""Seconds for which a resolved alert is kept for its notices (specification: resolvedRetention)."""


class Active(NamedTuple):
    """One result of an alerting rule's query, with the labels and annotations of its alert."""

    labels: Labels
    annotations: Labels
    value: float


class Step(NamedTuple):
    """Result of one evaluation of a rule: all instances to keep, and the transitions."""

    instances: tuple[AlertInstance, ...]
    transitions: tuple[Transition, ...]


def activate(rule: AlertingRule, samples: Iterable[VectorSample], around: Surroundings) -> tuple[Active, ...]:
    """Return the alerts of a query's result.

    Templates see the query's labels, including the metric's name, and `around`. A template that fails renders to its
    error, and the alert stays. Raises RuleError when two alerts have the same labels.
    """
    found: dict[Labels, Active] = {}
    for sample in samples:
        seen = dict(sample.labels)
        query = {k: v for k, v in seen.items() if k != "__name__"}
        own = {name: _render(template, seen, sample.value, around) for name, template in rule.labels}
        labels = labels_of(query | own | {"alertname": rule.alert})
        if labels in found:
            raise RuleError(
                f"{rule.alert}: two results have the same labels {dict(labels)} once the rule's labels are added; "
                "aggregate the query by labels that tell them apart"
            )
        annotations = tuple(
            (name, _render(template, seen, sample.value, around))
            for name, template in rule.annotations
            if name != NO_DATA
        )
        found[labels] = Active(labels, annotations, sample.value)
    return tuple(found.values())


def step(
    rule: AlertingRule,
    previous: Sequence[AlertInstance],
    active: Sequence[Active],
    at: float,
    keep: Container[Labels] = (),
    absences: Mapping[Labels, Absence] | None = None,
) -> Step:
    """Return the rule's instances after one evaluation at unix second `at`, and the transitions.

    An instance that is not in `active` resolves, with two exceptions. An instance whose labels are in `keep` does not
    change. An instance whose targets are away, according to `absences`, keeps its state and is marked unknown.
    """
    before = {instance.labels: instance for instance in previous}
    instances: list[AlertInstance] = []
    transitions: list[Transition] = []
    for result in active:
        old = before.pop(result.labels, None)
        was = old.state if old else AlertState.INACTIVE
        instance = _present(rule, old, result, at)
        instances.append(instance)
        if instance.state is not was:
            transitions.append(Transition(instance, was, instance.state, at, _sentence(rule, instance, was, at)))
        elif old is not None and old.unknown_since is not None:
            transitions.append(Transition(instance, was, was, at, _known_again(rule, old, instance, at)))
    for old in before.values():
        if old.labels in keep:
            instances.append(old)
            continue
        absence = (absences or {}).get(old.labels, Absence())
        if _is_unknown(old, absence):
            remains, transition = _without_data(rule, old, absence, at)
        else:
            remains, transition = _absent(rule, old, at, absence), None
            if old.state is not AlertState.INACTIVE and (remains is None or remains.state is not old.state):
                fired = remains if old.state is AlertState.FIRING else None
                ended = fired or replace(old, state=AlertState.INACTIVE, unknown_since=None, away=absence.removed)
                sentence = _sentence(rule, ended, old.state, at) + _farewell(absence)
                transition = Transition(ended, old.state, AlertState.INACTIVE, at, sentence)
        instances += [remains] if remains else []
        transitions += [transition] if transition else []
    return Step(tuple(instances), tuple(transitions))


def removed(instance: AlertInstance, at: float) -> Transition:
    """Return the transition that ends an active alert whose rule is no longer configured."""
    ended = _ended(instance, at)
    name = dict(instance.labels).get("alertname", instance.rule)
    sentence = f"{name} went from {instance.state} to inactive: its rule is no longer configured"
    return Transition(ended, instance.state, AlertState.INACTIVE, at, sentence)


def _present(rule: AlertingRule, old: AlertInstance | None, result: Active, at: float) -> AlertInstance:
    if old is None or old.state is AlertState.INACTIVE:
        old = AlertInstance(
            rule=rule.id,
            labels=result.labels,
            annotations=result.annotations,
            state=AlertState.PENDING,
            value=result.value,
            active_at=at,
            changes=earlier_changes(old, at),
        )
    if old.state is AlertState.PENDING and old.unknown_since is not None:
        # While unknown, the condition was not observed: that time does not count towards `for`.
        old = replace(old, active_at=old.active_at + max(0.0, at - old.unknown_since))
    now = replace(
        old,
        annotations=result.annotations,
        value=result.value,
        keep_firing_since=None,
        unknown_since=None,
        away=(),
    )
    if now.state is AlertState.PENDING and at - now.active_at >= rule.for_s:
        now = replace(now, state=AlertState.FIRING, fired_at=at)
    return now


def _is_unknown(old: AlertInstance, absence: Absence) -> bool:
    """Return whether no data says that an alert without a result is over.

    Only this function decides what missing data means. An alert that `keep_firing_for` holds was observed to be
    over, so it is not marked and ends as planned.
    """
    return bool(absence.away) and old.state is not AlertState.INACTIVE and old.keep_firing_since is None


def _without_data(
    rule: AlertingRule, old: AlertInstance, absence: Absence, at: float
) -> tuple[AlertInstance | None, Transition | None]:
    """Return an active alert marked unknown, or as the rule's policy wants it after its time, and the transition."""
    since = at if old.unknown_since is None else old.unknown_since
    marked = replace(old, unknown_since=since, away=absence.away)
    if rule.no_data.acts(Action.RESOLVE, at - since):
        ended = _ended(old, at)
        sentence = _by_policy(rule, old, ended, absence, at - since)
        return (
            None if old.state is AlertState.PENDING else ended,
            Transition(ended, old.state, AlertState.INACTIVE, at, sentence),
        )
    if rule.no_data.acts(Action.FIRE, at - since) and old.state is AlertState.PENDING:
        fires = replace(marked, state=AlertState.FIRING, fired_at=at)
        sentence = _by_policy(rule, old, fires, absence, at - since)
        return fires, Transition(fires, old.state, AlertState.FIRING, at, sentence)
    if old.unknown_since is None:
        return marked, Transition(marked, old.state, old.state, at, _lost(rule, marked, absence))
    return marked, None


def _absent(rule: AlertingRule, old: AlertInstance, at: float, absence: Absence) -> AlertInstance | None:
    """Return the next state of an instance whose result is gone; None when it is not kept."""
    if old.state is AlertState.PENDING:
        before = last_episode(old)
        return before if before is not None and not _expired(before, at) else None
    if old.state is AlertState.FIRING:
        since = at if old.keep_firing_since is None else old.keep_firing_since
        if rule.keep_firing_for_s > 0 and at - since < rule.keep_firing_for_s and not absence.removed:
            return replace(old, keep_firing_since=since, unknown_since=None, away=())
        return replace(_ended(old, at), away=absence.removed)
    return None if _expired(old, at) else old


def _expired(ended: AlertInstance, at: float) -> bool:
    return ended.resolved_at is None or at - ended.resolved_at > RESOLVED_RETENTION_S


def _ended(old: AlertInstance, at: float) -> AlertInstance:
    return replace(old, state=AlertState.INACTIVE, resolved_at=at, keep_firing_since=None, unknown_since=None, away=())


def _lost(rule: AlertingRule, instance: AlertInstance, absence: Absence) -> str:
    return f"{rule.alert} stays {instance.state} but is unknown: {_cause(absence)} (was: {_what(instance)})"


def _cause(absence: Absence) -> str:
    target, *others = absence.away
    more = f" ({len(others)} more targets are away)" if others else ""
    return f"{target if target == QUERY else f'its target {target}'} {absence.why}{more}"


def _by_policy(rule: AlertingRule, old: AlertInstance, instance: AlertInstance, absence: Absence, away_s: float) -> str:
    lasted = f" for {_lasted(0.0, away_s)}" if away_s else ""
    verb = "fires" if instance.state is AlertState.FIRING else "ends"
    return (
        f"{rule.alert} went from {old.state} to {instance.state}: there has been no data{lasted}, and its rule says "
        f"that it then {verb}; {_cause(absence)} (was: {_what(old)})"
    )


def _known_again(rule: AlertingRule, old: AlertInstance, instance: AlertInstance, at: float) -> str:
    assert old.unknown_since is not None
    blind = _lasted(old.unknown_since, at)
    return f"{rule.alert} is still {instance.state}; its data is back after {blind}: {_what(instance)}"


def _farewell(absence: Absence) -> str:
    if not absence.removed:
        return ""
    target, *others = absence.removed
    more = f" and {len(others)} more" if others else ""
    return f"; its target {target}{more} is no longer configured"


def _sentence(rule: AlertingRule, instance: AlertInstance, was: AlertState, at: float) -> str:
    head = f"{rule.alert} went from {was} to {instance.state}"
    what = _what(instance)
    lasted = _lasted(instance.active_at, at)
    if instance.state is AlertState.PENDING:
        return f"{head}: {what}; it fires when this has lasted {humanize_duration(rule.for_s)}"
    if instance.state is AlertState.FIRING:
        return f"{head}: {what}" + (f", for {lasted}" if rule.for_s else "")
    if was is AlertState.PENDING:
        return f"{head}: over after {lasted}; it fires only after {humanize_duration(rule.for_s)} (was: {what})"
    fired = _lasted(instance.fired_at if instance.fired_at is not None else at, at)
    return f"{head}: over after firing for {fired} (was: {what})"


def _what(instance: AlertInstance) -> str:
    return dict(instance.annotations).get("summary") or _subject(instance)


def _subject(instance: AlertInstance) -> str:
    labels = ", ".join(f"{k}={v}" for k, v in instance.labels if k not in ("alertname", "severity"))
    return f"value {go_float(instance.value)}" + (f" on {labels}" if labels else "")


def _render(template: Template, labels: dict[str, str], value: float, around: Surroundings) -> str:
    try:
        return template.render(labels, value, around)
    except TemplateError as error:
        return f"<error expanding template: {error}>"


def _lasted(since: float, at: float) -> str:
    """Return a duration in words, rounded to seconds, or to 10 ms below one second."""
    seconds = at - since
    return humanize_duration(float(round(seconds)) if seconds >= 1 else round(seconds, 2))
