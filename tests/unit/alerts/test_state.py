"""The state machine as timelines, checked against the compliance specification, one evaluation after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from alerts.errors import RuleError
from alerts.interfaces import AlertInstance, AlertState, VectorSample
from alerts.rules import AlertingRule
from alerts.state import RESOLVED_RETENTION_S, activate, removed, step
from alerts.template import Surroundings, Template
from collectors.samples import labels_of


def rule(for_s: float = 0.0, keep_s: float = 0.0, **labels: str) -> AlertingRule:
    return AlertingRule(
        id="f;g;Hot",
        alert="Hot",
        expr="temp > 85",
        for_s=for_s,
        keep_firing_for_s=keep_s,
        labels=tuple((k, Template(v)) for k, v in labels.items()),
        annotations=(("summary", Template("{{ $value }} °C on {{ $labels.gpu }}")),),
    )


@dataclass
class Timeline:
    """Passes values of one GPU (None: not in the result) to a rule, and keeps its instances and transitions."""

    rule: AlertingRule
    instances: Sequence[AlertInstance] = ()
    sentences: list[str] = field(default_factory=list)

    def at(self, second: float, value: float | None) -> str:
        """Evaluate once; return the alert's state, or `-` when no instance is kept."""
        samples = [] if value is None else [VectorSample(labels_of({"__name__": "temp", "gpu": "0"}), value)]
        outcome = step(self.rule, self.instances, activate(self.rule, samples, Surroundings()), second)
        self.instances = outcome.instances
        self.sentences += [t.sentence for t in outcome.transitions]
        for transition in outcome.transitions:
            assert transition.at == second
            assert transition.before is not transition.after
        return self.instances[0].state.value if self.instances else "-"


def test_without_for_it_fires_at_once_and_resolves_at_once() -> None:
    line = Timeline(rule())
    assert [line.at(0, None), line.at(15, 91), line.at(30, None)] == ["-", "firing", "inactive"]
    (instance,) = line.instances
    assert (instance.active_at, instance.fired_at, instance.resolved_at) == (15, 15, 30)
    assert line.sentences == [
        "Hot went from inactive to firing: 91 °C on 0",
        "Hot went from firing to inactive: over after firing for 15s (was: 91 °C on 0)",
    ]


def test_it_fires_when_the_condition_has_held_for_exactly_for() -> None:
    line = Timeline(rule(for_s=30))
    assert [line.at(0, 90), line.at(15, 90), line.at(29.9, 90), line.at(30, 91)] == [
        "pending", "pending", "pending", "firing",
    ]  # fmt: skip
    assert (line.instances[0].active_at, line.instances[0].fired_at) == (0, 30)
    assert line.sentences == [
        "Hot went from inactive to pending: 90 °C on 0; it fires when this has lasted 30s",
        "Hot went from pending to firing: 91 °C on 0, for 30s",
    ]


def test_durations_are_told_to_the_second() -> None:
    line = Timeline(rule(for_s=6))
    assert [line.at(t, v) for t, v in ((0, 90), (7.997, 91), (18.07, None), (20, 90), (20.4, None))] == [
        "pending", "firing", "inactive", "pending", "inactive",
    ]  # fmt: skip
    assert [s.partition(": ")[2] for s in line.sentences] == [
        "90 °C on 0; it fires when this has lasted 6s",
        "91 °C on 0, for 8s",
        "over after firing for 10s (was: 91 °C on 0)",
        "90 °C on 0; it fires when this has lasted 6s",
        "over after 400ms; it fires only after 6s (was: 90 °C on 0)",
    ]


def test_a_for_shorter_than_the_interval_fires_at_the_next_evaluation() -> None:
    line = Timeline(rule(for_s=5))
    assert [line.at(0, 90), line.at(60, 90)] == ["pending", "firing"]


def test_a_gap_while_pending_starts_all_over() -> None:
    line = Timeline(rule(for_s=30))
    states = [line.at(0, 90), line.at(15, None), line.at(30, 90), line.at(45, 90), line.at(60, 90)]
    assert states == ["pending", "-", "pending", "pending", "firing"]
    assert (
        line.sentences[1]
        == "Hot went from pending to inactive: over after 15s; it fires only after 30s (was: 90 °C on 0)"
    )


def test_keep_firing_for_bridges_gaps_and_counts_from_the_last_one() -> None:
    line = Timeline(rule(keep_s=30))
    states = [line.at(t, v) for t, v in [(0, 90), (15, None), (30, None), (40, 91), (50, None), (79, None), (80, None)]]
    assert states == ["firing", "firing", "firing", "firing", "firing", "firing", "inactive"]
    assert (line.instances[0].fired_at, line.instances[0].resolved_at) == (0, 80)
    assert len(line.sentences) == 2


def test_keep_firing_for_does_not_keep_a_pending_alert() -> None:
    line = Timeline(rule(for_s=30, keep_s=30))
    assert [line.at(0, 90), line.at(15, None)] == ["pending", "-"]


def test_a_resolved_alert_is_remembered_for_its_notice_and_then_forgotten() -> None:
    line = Timeline(rule())
    line.at(0, 90)
    line.at(60, None)
    assert RESOLVED_RETENTION_S == 900, "15 minutes, as the specification has it"
    assert line.at(60 + 900, None) == "inactive"
    assert line.at(60 + 900.001, None) == "-"
    assert len(line.sentences) == 2


def test_a_recurrence_is_a_new_alert() -> None:
    line = Timeline(rule(for_s=10))
    for second, value in [(0, 90), (10, 90), (20, None)]:
        line.at(second, value)
    assert line.at(30, 90) == "pending"
    (instance,) = line.instances
    assert (instance.active_at, instance.fired_at, instance.resolved_at) == (30, None, None)


def test_value_and_annotations_refresh_while_it_fires() -> None:
    line = Timeline(rule())
    line.at(0, 90)
    line.at(15, 95)
    assert line.instances[0].value == 95
    assert dict(line.instances[0].annotations) == {"summary": "95 °C on 0"}
    assert line.instances[0].fired_at == 0


def sample(value: float = 1.0, **labels: str) -> VectorSample:
    return VectorSample(labels_of(labels), value)


def test_labels_are_the_querys_then_the_rules_then_alertname() -> None:
    (active,) = activate(
        rule(severity="{{ $labels.gpu }}!", gpu="", alertname="no"), [sample(gpu="7", node="a")], Surroundings()
    )
    assert active.labels == (("alertname", "Hot"), ("node", "a"), ("severity", "7!"))


def test_equal_label_sets_fail_the_whole_rule() -> None:
    with pytest.raises(RuleError, match=r"Hot: two results have the same labels .*aggregate the query"):
        activate(rule(gpu="all"), [sample(gpu="1"), sample(gpu="2")], Surroundings())


def test_a_template_that_fails_keeps_the_alert() -> None:
    broken = AlertingRule("f;g;Hot", "Hot", "x", annotations=(("summary", Template("{{ humanize $labels.gpu }}")),))
    (active,) = activate(broken, [sample(gpu="seven")], Surroundings())
    assert active.annotations[0][1].startswith("<error expanding template: ")


def test_instances_of_one_rule_live_their_own_lives() -> None:
    r = rule(for_s=30)
    first = step(r, (), activate(r, [sample(gpu="1"), sample(gpu="2")], Surroundings()), 0)
    second = step(r, first.instances, activate(r, [sample(gpu="2"), sample(gpu="3")], Surroundings()), 30)
    assert {dict(i.labels)["gpu"]: i.state.value for i in second.instances} == {"2": "firing", "3": "pending"}
    assert [(dict(t.instance.labels)["gpu"], t.after.value) for t in second.transitions] == [
        ("2", "firing"), ("3", "pending"), ("1", "inactive"),
    ]  # fmt: skip


def test_a_step_is_pure() -> None:
    r = rule()
    first = step(r, (), activate(r, [sample(gpu="1")], Surroundings()), 0)
    assert step(r, first.instances, (), 10) == step(r, first.instances, (), 10)


def test_an_alert_whose_rule_is_gone_ends_with_a_sentence() -> None:
    (instance,) = step(rule(), (), activate(rule(), [sample(gpu="1")], Surroundings()), 0).instances
    transition = removed(instance, 50)
    assert (transition.before, transition.after) == (AlertState.FIRING, AlertState.INACTIVE)
    assert transition.instance.resolved_at == 50
    assert transition.sentence == "Hot went from firing to inactive: its rule is no longer configured"


def test_earlier_changes_are_kept_while_the_alert_returns() -> None:
    line = Timeline(rule(for_s=10))
    seconds = ((0, 90), (10, 90), (20, None), (30, 90), (35, None), (40, 90), (50, 90), (60, None))
    seen = []
    for second, value in seconds:
        state = line.at(second, value)
        (one,) = line.instances
        seen.append((state, one.fired_at, one.resolved_at, one.changes))
    assert seen == [
        ("pending", None, None, ()),
        ("firing", 10, None, ()),
        ("inactive", 10, 20, ()),
        ("pending", None, None, (10, 20)),
        ("inactive", 10, 20, ()),
        ("pending", None, None, (10, 20)),
        ("firing", 50, None, (10, 20)),
        ("inactive", 50, 60, (10, 20)),
    ]
    assert line.sentences[4].endswith("over after 5s; it fires only after 10s (was: 90 °C on 0)")


def test_an_alert_that_was_forgotten_begins_without_changes() -> None:
    line = Timeline(rule())
    line.at(0, 90)
    line.at(10, None)
    assert line.at(11 + RESOLVED_RETENTION_S, None) == "-"
    line.at(2000, 90)
    assert line.instances[0].changes == ()
    pending = Timeline(rule(for_s=2000))
    pending.instances = [replace(line.instances[0], state=AlertState.PENDING, fired_at=None, changes=(5.0, 10.0))]
    assert pending.at(11 + RESOLVED_RETENTION_S, None) == "-", "it ended too long ago to be told"
