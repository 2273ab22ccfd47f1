"""Rules over samples of the past: the same state machine, without a clock and a store."""

from __future__ import annotations

import math

import pytest

from alerts.errors import RuleError
from alerts.interfaces import VectorSample
from alerts.rules import AlertingRule, parse_rules
from alerts.trial import Episode, Instants, episodes
from collectors.samples import labels_of

TIMES = Instants(1000.0, 1300.0, 30.0)
HOT = labels_of({"alertname": "Hot", "node": "n1"})


def rule(text: str = "expr: temperature > 80\n    for: 1m") -> AlertingRule:
    (group,) = parse_rules(f"groups:\n- name: g\n  rules:\n  - alert: Hot\n    {text}\n", "f")
    (found,) = group.rules
    assert isinstance(found, AlertingRule)
    return found


def samples(values: str, node: str = "n1") -> dict[int, list[VectorSample]]:
    """Return one digit for each time; `.` is no sample."""
    labels = labels_of({"node": node})
    return {n: [VectorSample(labels, float(value))] for n, value in enumerate(values) if value != "."}


def test_an_alert_is_pending_for_its_time_and_fires_until_its_samples_end() -> None:
    assert episodes(rule(), samples("..5678...."), TIMES) == [
        Episode(HOT, active_at=1060.0, fired_at=1120.0, ended_at=1180.0, peak=8.0)
    ]


def test_one_that_ends_before_its_time_never_fires() -> None:
    found = episodes(rule(), samples("55.55....."), TIMES)
    assert [(one.active_at, one.fired_at, one.ended_at) for one in found] == [
        (1000.0, None, 1060.0),
        (1090.0, None, 1150.0),
    ]


def test_one_that_is_active_at_the_end_is_open() -> None:
    (found,) = episodes(rule(), samples(".......9999"), TIMES)
    assert (found.fired_at, found.ended_at) == (1270.0, None)


def test_keep_firing_for_joins_two_times() -> None:
    text = "expr: temperature > 80\n    keep_firing_for: 1m"
    (found,) = episodes(rule(text), samples("5.5......."), TIMES)
    assert (found.active_at, found.fired_at, found.ended_at) == (1000.0, 1000.0, 1150.0)
    assert len(episodes(rule("expr: temperature > 80"), samples("5.5......."), TIMES)) == 2


def test_every_label_set_has_its_own_episodes_and_the_rules_labels() -> None:
    results = samples("1.")
    results[0] += samples("2.", "n2")[0]
    results[0].append(VectorSample(labels_of({"node": "n3"}), math.nan))
    labelled = rule("expr: t > 0\n    labels: {severity: critical, where: '{{ $labels.node }}'}")
    assert [dict(one.labels)["where"] for one in episodes(labelled, results, TIMES)] == ["n1", "n2", "n3"]


def test_two_results_with_the_same_labels_are_an_error_as_they_are_in_the_evaluation() -> None:
    twice = rule("expr: t > 0\n    labels: {node: same}")
    results = samples("1.")
    results[0] += samples("2.", "n2")[0]
    with pytest.raises(RuleError, match="two results have the same labels"):
        episodes(twice, results, TIMES)


def test_a_trial_has_both_of_its_ends() -> None:
    assert (len(TIMES), TIMES.at(0), TIMES.at(10)) == (11, 1000.0, 1300.0)
