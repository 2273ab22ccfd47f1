"""Steps of a rule's alerts without data: its evaluation failed, or its policy reports targets that are silent."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from alerts.interfaces import AlertInstance, AlertState
from alerts.no_data import NO_DATA, QUERY, Action
from alerts.origins import Absence
from alerts.rules import AlertingRule
from alerts.state import Active, Step, step
from collectors.samples import Labels, labels_of


class Parted(NamedTuple):
    """A rule's instances by what they are about."""

    observed: list[AlertInstance]
    """Those about the rule's condition."""
    reports: list[AlertInstance]
    """Those that report missing data."""


def parted(instances: Iterable[AlertInstance]) -> Parted:
    """Return a rule's instances by what they are about."""
    found = Parted([], [])
    for instance in instances:
        (found.reports if (NO_DATA, "true") in instance.labels else found.observed).append(instance)
    return found


def frozen(rule: AlertingRule, previous: Sequence[AlertInstance], why: str, at: float) -> Step:
    """Return the rule's instances after an evaluation at unix second `at` that failed, and the transitions.

    Every active alert is unknown. `why` says what the rule's query did: "failed: timeout". An alert resolves only when
    the rule's policy says so.
    """
    observed, reports = parted(previous)
    absence = Absence(away=(QUERY,), why=why)
    # An alert that `keep_firing_for` holds was seen to be over, and may not have stayed so: it ends when that is known.
    held = {instance.labels for instance in observed if instance.keep_firing_since is not None}
    made = step(rule, observed, (), at, held, {instance.labels: absence for instance in observed})
    silent = {} if any(i.state is not AlertState.INACTIVE for i in observed) else {QUERY: why}
    return joined(made, reported(rule, reports, silent, at, {instance.labels for instance in reports}))


def uncovered(instances: Iterable[AlertInstance], silent: Mapping[str, str]) -> Mapping[str, str]:
    """Return the silent targets, with their reasons, for which none of the active `instances` waits."""
    waited = {name for instance in instances if instance.state is not AlertState.INACTIVE for name in instance.away}
    return {name: why for name, why in silent.items() if name not in waited}


def reported(
    rule: AlertingRule,
    previous: Sequence[AlertInstance],
    silent: Mapping[str, str],
    at: float,
    keep: Container[Labels] = (),
) -> Step:
    """Return the alerts that report missing data at unix second `at`, and their transitions.

    `previous` are those of the last evaluation. `silent` has the targets (`job/instance`) that are to be reported, each
    with the reason. An alert is pending until its target has been silent for the time of the rule's policy. Alerts with
    labels in `keep` do not end. A rule whose policy is not `fire` reports nothing.
    """
    active = []
    for target, why in silent.items() if rule.no_data.action is Action.FIRE else ():
        # A text with actions is about a result of the query, and there is none.
        fixed = {n: text.text for n, text in rule.annotations if text.is_plain and n != NO_DATA}
        subject = target if target == QUERY else f"target {target}"
        annotations = tuple(sorted({**fixed, "summary": f"no data about {rule.alert}: {subject} {why}"}.items()))
        active.append(Active(_labels(rule, target), annotations, math.nan))
    as_rule = replace(rule, for_s=rule.no_data.after_s, keep_firing_for_s=0.0)
    return step(as_rule, previous, active, at, keep)


def joined(*steps: Step) -> Step:
    """Return several steps of one rule as one."""
    return Step(
        tuple(instance for made in steps for instance in made.instances),
        tuple(transition for made in steps for transition in made.transitions),
    )


def _labels(rule: AlertingRule, target: str) -> Labels:
    job, _, instance = ("", "", "") if target == QUERY else target.partition("/")
    own = {name: text.text for name, text in rule.labels if text.is_plain}
    return labels_of({**own, "job": job, "instance": instance, "alertname": rule.alert, NO_DATA: "true"})
