"""The durable memory of alerting, on SQLite and PostgreSQL."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

import controlplane.store.tables.alerts  # noqa: F401 - fills SQLModel.metadata
from alerts.dispatch import Deliveries, GroupState, GroupStep, Picture, ToldFlap
from alerts.interfaces import AlertInstance, AlertState, Message, MessageRef, Transition
from alerts.routing.matchers import Matcher, parse_matchers
from collectors.samples import labels_of
from controlplane.errors import LeaseLost
from controlplane.store import alert_log
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.alerting.flaps import told_flapping
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore
from controlplane.store.outbox import OutboxStore
from controlplane.store.revision import RevisionStore
from tests.fakes.open_groups import open_groups

RULE = "builtin:llm;llm-service;LLMModelDown"
INACTIVE, PENDING, FIRING = AlertState.INACTIVE, AlertState.PENDING, AlertState.FIRING
KEY = 'ops{model="chat"}'


def alert(model: str = "chat", state: AlertState = FIRING, **fields: Any) -> AlertInstance:
    labels = labels_of({"alertname": "LLMModelDown", "model": model, "severity": "critical"})
    whole = AlertInstance(RULE, labels, (("note", ""), ("summary", f"{model} °C")), state, 0.5, 100.0, fired_at=160.0)
    return replace(whole, **fields)


def change(instance: AlertInstance, before: AlertState, at: float) -> Transition:
    return Transition(instance, before, instance.state, at, f"went from {before} to {instance.state} at {at:g}")


@pytest.fixture
def log(database: Database) -> SqlAlertLog:
    return SqlAlertLog(database)


def test_what_is_recorded_is_loaded_again_exactly(log: SqlAlertLog) -> None:
    kept = [
        alert("a", PENDING, fired_at=None, value=math.inf),
        alert("b", keep_firing_since=170.25),
        alert("c", INACTIVE, resolved_at=180.5, value=-1e300),
        alert("d", unknown_since=190.5, away=("dcgm/n1:9400", "vllm/a/b:80")),
        alert("e", changes=(10.25, 20.5)),
    ]
    log.record(RULE, kept, [change(kept[3], FIRING, 190.5)])
    assert log.history(kept[3].fingerprint)[0].instance == kept[3]
    assert log.load(RULE) == kept
    assert log.load("another;rule;x") == []


def matchers(text: str) -> tuple[Matcher, ...]:
    return parse_matchers(text)


def test_alerts_are_found_by_their_labels_and_the_limit_counts_what_is_kept(log: SqlAlertLog) -> None:
    kept = [alert(name, active_at=float(n)) for n, name in enumerate(("chat", "chat_2", "a_b", "a%b", "\u6a21"))]
    log.record(RULE, kept, [])

    def models(text: str, limit: int = 10) -> list[str]:
        return [dict(one.labels)["model"] for one in log.active(None, limit, matchers(text))]

    assert models("model=chat") == ["chat"]
    assert models("model=a_b") == ["a_b"], "_ is no wildcard"
    assert models("model=\u6a21") == ["\u6a21"]
    assert models('model="a%b"') == ["a%b"]
    assert models("model=~chat.*") == ["chat", "chat_2"]
    assert models("model!=chat, severity=critical", 2) == ["chat_2", "a_b"]
    assert models("model=critical") == [], "the value of another label"
    assert models("model=CHAT") == []


def test_the_ends_of_one_models_alerts_are_found_behind_those_of_others(
    log: SqlAlertLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_log, "PAGE", 3)
    quiet = [alert("chat", INACTIVE, resolved_at=float(n)) for n in range(4)]
    loud = [alert("noisy", INACTIVE, resolved_at=100.0 + n) for n in range(20)]
    log.record(RULE, [], [change(one, FIRING, 200.0) for one in (*quiet, *loud)])
    assert {dict(one.labels)["model"] for one in log.resolved(5)} == {"noisy"}
    for text in ("model=chat", "model=~ch.t"):
        assert [one.resolved_at for one in log.resolved(10, matchers(text))] == [3.0, 2.0, 1.0, 0.0], text
        assert [one.resolved_at for one in log.resolved(2, matchers(text))] == [3.0, 2.0], text
    monkeypatch.setattr(alert_log, "MOST_SCANNED", 6)
    assert log.resolved(10, matchers("model=~ch.t")) == [], "the search ends"
    assert len(log.resolved(10, matchers("model=chat"))) == 4, "by its value others are not read"


def test_nan_survives(log: SqlAlertLog) -> None:
    log.record(RULE, [alert(value=math.nan)], [change(alert(value=math.nan), PENDING, 160.0)])
    assert math.isnan(log.load(RULE)[0].value)
    assert math.isnan(log.history(alert().fingerprint)[0].instance.value)


def test_recording_replaces_the_rule_and_leaves_others_alone(log: SqlAlertLog) -> None:
    other = alert("z", rule="other;g;LLMModelDown")
    log.record(other.rule, [other], [])
    log.record(RULE, [alert("a"), alert("b")], [])
    log.record(RULE, [alert("b", value=0.7)], [])
    assert log.load(RULE) == [alert("b", value=0.7)]
    assert log.load(other.rule) == [other]


def test_history_is_newest_first_and_outlives_the_instance(log: SqlAlertLog) -> None:
    log.record(RULE, [alert(state=PENDING)], [change(alert(state=PENDING), INACTIVE, 100.0)])
    log.record(RULE, [alert()], [change(alert(), PENDING, 160.0)])
    ended = alert(state=INACTIVE, resolved_at=200.0)
    log.record(RULE, [ended], [change(ended, FIRING, 200.0)])
    log.record(RULE, [], [])
    fingerprint = alert().fingerprint
    assert [(e.at, e.before, e.after) for e in log.history(fingerprint)] == [
        (200.0, FIRING, INACTIVE),
        (160.0, PENDING, FIRING),
        (100.0, INACTIVE, PENDING),
    ]
    assert log.history(fingerprint, limit=1)[0].sentence == "went from firing to inactive at 200"
    assert log.by_fingerprint(fingerprint) == ended
    assert log.resolved() == [ended]
    assert log.by_fingerprint("0" * 16) is None
    assert [e.at for e in log.recent(2)] == [200.0, 160.0]
    assert log.prune(before=150.0) == 1
    assert len(log.history(fingerprint)) == 2


def test_active_lists_firing_first_and_counts_leave_the_watchdog_out(log: SqlAlertLog) -> None:
    watchdog = replace(alert(rule="w"), labels=labels_of({"alertname": "Watchdog", "severity": "none"}), active_at=1.0)
    log.record("w", [watchdog], [])
    log.record(RULE, [alert("a", PENDING), alert("b"), alert("c", INACTIVE, resolved_at=180.0)], [])
    assert log.active() == [watchdog, alert("b"), alert("a", PENDING)]
    assert log.active(PENDING) == [alert("a", PENDING)]
    assert log.counts() == {FIRING: 1, PENDING: 1}
    assert log.by_fingerprint(alert("b").fingerprint) == alert("b")


def test_rules_that_left_the_configuration_end_their_alerts(log: SqlAlertLog) -> None:
    log.record(RULE, [alert("a"), alert("b", INACTIVE, resolved_at=150.0)], [])
    log.record("kept;g;r", [alert("c", rule="kept;g;r")], [])
    (ended,) = log.retire({"kept;g;r"}, at=200.0)
    assert ended.instance == alert("a", INACTIVE, resolved_at=200.0)
    assert ended.sentence == "LLMModelDown went from firing to inactive: its rule is no longer configured"
    assert log.active() == [alert("c", rule="kept;g;r")]
    assert log.history(alert("a").fingerprint)[0].sentence == ended.sentence
    assert log.retire({"kept;g;r"}, at=210.0) == []


def test_only_transitions_tell_the_console(log: SqlAlertLog, database: Database) -> None:
    log.record(RULE, [alert()], [change(alert(), PENDING, 160.0)])
    (revision,) = RevisionStore(database).since(0)
    assert (revision.kind, revision.ref) == ("alerts", alert().fingerprint)
    log.record(RULE, [alert(value=0.9)], [])
    assert RevisionStore(database).latest() == revision.id


def test_a_lost_lease_writes_nothing(database: Database) -> None:
    leases = LeaseStore(database)
    mine = leases.acquire("alerts", "a", ttl_s=60)
    assert mine is not None
    log = SqlAlertLog(database, lambda: mine)
    log.record(RULE, [alert()], [])
    leases.release(mine)
    assert leases.acquire("alerts", "b", ttl_s=60) is not None
    late = Lease(mine.name, mine.holder, mine.epoch)
    for act in (
        lambda: SqlAlertLog(database, lambda: late).record(RULE, [], []),
        lambda: SqlAlertLog(database, lambda: late).retire((), 1.0),
        lambda: SqlGroupLog(database, lambda: late).advance(lambda *_: [told(1)], 1.0),
    ):
        with pytest.raises(LeaseLost):
            act()
    assert log.load(RULE) == [alert()]
    assert OutboxStore(database).recent(10) == []


def group(generation: int = 7, **fields: Any) -> GroupState:
    labels = labels_of({"model": "chat"})
    whole = GroupState(KEY, "ops", labels, generation, 1, True, 100.0, notified_at=110.0, notified=(alert(),))
    return replace(whole, **fields)


def told(sequence: int, generation: int = 7) -> GroupStep:
    state = group(generation, sequence=sequence)
    message = Message(KEY, "ops", "firing", state.labels, state.notified, (), sequence, generation)
    return GroupStep(state, message, "why")


def test_a_group_and_its_message_are_stored_together(database: Database) -> None:
    groups = SqlGroupLog(database)
    seen: list[tuple[object, ...]] = []

    def decide(picture: Picture) -> list[GroupStep]:
        seen.append((picture.instances, picture.groups, picture.deliveries))
        return [told(1)] if len(seen) == 1 else []

    SqlAlertLog(database).record(RULE, [alert()], [])
    groups.advance(decide, 110.0)
    groups.advance(decide, 111.0)
    assert seen == [
        ((alert(),), {}, Deliveries(set(), set())),
        ((alert(),), {KEY: group()}, Deliveries({KEY}, set())),
    ]
    (entry,) = OutboxStore(database).recent(10)
    assert (entry.kind, entry.receiver, entry.lane, entry.message_id) == ("alert", "ops", KEY, f"{KEY}/7/1")
    assert entry.payload["summary"] == "FIRING: alerts chat (1 firing)"
    assert open_groups(groups) == [group()]


def test_the_flapping_alerts_of_a_group_are_stored(database: Database) -> None:
    groups = SqlGroupLog(database)
    flaps = (ToldFlap(alert().fingerprint, 5, 110.5),)
    groups.advance(lambda _: [told(1)._replace(state=group(flaps=flaps))], 110.0)
    assert open_groups(groups) == [group(flaps=flaps)]
    assert told_flapping(database)() == {alert().fingerprint}
    groups.advance(lambda _: [told(2)._replace(state=group(flaps=flaps, is_open=False))], 111.0)
    assert told_flapping(database)() == frozenset()


def test_a_decision_that_fails_stores_nothing(database: Database) -> None:
    groups = SqlGroupLog(database)

    def decide(*_: object) -> list[GroupStep]:
        raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        groups.advance(decide, 110.0)
    assert open_groups(groups) == []


def test_deliveries_tell_what_is_underway_and_what_was_given_up_last(database: Database) -> None:
    groups, outbox = SqlGroupLog(database), OutboxStore(database)
    seen: list[Deliveries] = []

    def look(picture: Picture) -> list[GroupStep]:
        seen.append(picture.deliveries)
        return []

    for sequence, outcome in ((1, "dead"), (2, "done")):
        groups.advance(lambda *_, n=sequence: [told(n)], 110.0)
        groups.advance(look, 111.0)
        (entry,) = outbox.claim("s", 112.0, 60, 10)
        outbox.dead(entry, "invalid_auth", 113.0) if outcome == "dead" else outbox.done(entry, None, 113.0)
        groups.advance(look, 114.0)
    assert seen == [
        Deliveries({KEY}, set()),
        Deliveries(set(), {KEY}),
        Deliveries({KEY}, set()),
        Deliveries(set(), set()),
    ]


def test_a_root_belongs_to_one_generation(database: Database) -> None:
    groups = SqlGroupLog(database)
    assert groups.roots([(KEY, 7)]) == {}
    groups.advance(lambda *_: [told(1)], 110.0)
    groups.remember({(KEY, 7): MessageRef("C1/1.5")})
    assert groups.roots([(KEY, 7)]) == {(KEY, 7): MessageRef("C1/1.5")}
    groups.advance(lambda *_: [told(1, generation=8)], 200.0)
    assert groups.roots([(KEY, 7)]) == {}
    assert groups.roots([(KEY, 8)]) == {}
    groups.remember({(KEY, 7): MessageRef("C1/late")})
    assert groups.roots([(KEY, 8)]) == {}


def test_closed_groups_are_pruned_once_their_messages_are_gone(database: Database) -> None:
    groups, outbox = SqlGroupLog(database), OutboxStore(database)
    closing = told(2)._replace(state=group(sequence=2, is_open=False, notified=()))
    groups.advance(lambda *_: [closing], 110.0)
    assert groups.prune(before=1000.0) == 0
    (entry,) = outbox.claim("s", 112.0, 60, 10)
    outbox.done(entry, None, 113.0)
    assert groups.prune(before=110.0) == 0
    assert groups.prune(before=1000.0) == 1


def test_alerts_of_a_rule_whose_file_lies_elsewhere_are_kept_and_get_its_id_here(database: Database) -> None:
    log = SqlAlertLog(database)
    moved = replace(
        AlertInstance("", labels_of({"alertname": "Hot"}), (), AlertState.FIRING, 1.0, 1.0), rule="/old/f.yml;g;Hot"
    )
    log.record(moved.rule, [moved], [])
    assert log.retire({"/new/f.yml;g;Hot"}, 100.0) == []
    assert [a.rule for a in log.load("/new/f.yml;g;Hot")] == ["/new/f.yml;g;Hot"]
    assert log.load(moved.rule) == []
    log.record(moved.rule, [moved], [])  # as a process of before the move writes it once more
    assert [t.instance.rule for t in log.retire({"/new/f.yml;g;Hot"}, 101.0)] == [moved.rule]
    assert [a.state.value for a in log.active()] == ["firing"]


def test_sources_of_inhibitions_are_found_by_the_labels_that_have_a_column(log: SqlAlertLog) -> None:
    hot = [alert("a"), alert("b", PENDING), alert("c", INACTIVE, resolved_at=1.0)]
    mild = replace(hot[0], labels=labels_of({"alertname": "Slow", "severity": "warning", "rack": "1"}))
    log.record(RULE, [*hot, mild], [])
    found = {"a": hot[0].labels, "slow": mild.labels}
    assert log.firing_labels([]) == []
    assert log.firing_labels([{"severity": "critical"}]) == [found["a"]]
    assert log.firing_labels([{"alertname": "Slow", "severity": "critical"}]) == []
    assert set(log.firing_labels([{"severity": "critical"}, {"alertname": "Slow"}])) == set(found.values())
    assert set(log.firing_labels([{"rack": "2"}])) == set(found.values())  # the caller matches the other labels
    assert set(log.firing_labels([{}])) == set(found.values())


def test_which_of_some_alerts_are_active(log: SqlAlertLog) -> None:
    log.record(RULE, [alert("a"), alert("b", PENDING), alert("c", INACTIVE, resolved_at=1.0)], [])
    asked = [alert(model).fingerprint for model in ("a", "b", "c", "unknown")]
    assert log.active_among(asked) == {alert("a").fingerprint, alert("b").fingerprint}
    assert log.active_among([]) == set()
