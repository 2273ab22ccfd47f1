"""Alerts that fire and resolve again and again, as timelines: what each message says, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from alerts.changes import all_changes, earlier_changes
from alerts.dispatch import GroupState, Picture, Stages, decide, explain, next_due, steadied
from alerts.dispatch.flapping import flap_of
from alerts.holds import Acknowledgement, Holds, Silence
from alerts.interfaces import AlertInstance, AlertState, Flap, Message
from alerts.notify.card import render
from alerts.notify.payload import webhook_payload
from alerts.notify.words import CHINESE
from alerts.routing.flapping import LONGEST_S, MOST_CHANGES, Flapping
from alerts.routing.matchers import Matcher, Op
from alerts.routing.tree import InhibitRule
from alerts.wire import message_from_json, message_to_json
from collectors.samples import Labels, labels_of
from tests.routes import root, stages

ROUTE = root("ops", ("alertname",), wait_s=10, interval_s=60, repeat_s=7200)
SETTINGS = Flapping(5, 3600.0, 900.0)
KEY = "ops{alertname='Slow'}"
EVERY_30_S = [(float(n), n + 30.0) for n in range(0, 300, 60)]
"""Five episodes of half a minute: the third begins at 120, and the last ends at 270."""


def labels(version: str = "v1") -> Labels:
    return labels_of({"alertname": "Slow", "version": version, "severity": "warning"})


def alert_at(at: float, episodes: Sequence[tuple[float, float]], version: str = "v1") -> list[AlertInstance]:
    """Return the alert at a second, as its rule leaves it: [] before it first fires, and 15 minutes after its end."""
    found: AlertInstance | None = None
    for fired, resolved in episodes:
        if fired > at:
            break
        before = earlier_changes(found, fired)
        found = AlertInstance("f;g;Slow", labels(version), (), AlertState.FIRING, 1.0, fired, fired, changes=before)
        if resolved <= at:
            found = replace(found, state=AlertState.INACTIVE, resolved_at=resolved)
    gone = found is None or (found.resolved_at is not None and at - found.resolved_at > 900)
    return [] if gone or found is None else [found]


@dataclass
class Timeline:
    """A timeline of decisions, one a second."""

    flapping: Flapping | None = SETTINGS
    inhibit_rules: tuple[InhibitRule, ...] = ()
    groups: dict[str, GroupState] = field(default_factory=dict)
    acknowledged: Acknowledgement | None = None
    silences: tuple[Silence, ...] = ()
    now: int = -1

    def picture(self, alerts: Sequence[AlertInstance]) -> Picture:
        held = {} if self.acknowledged is None else {self.acknowledged.fingerprint: self.acknowledged}
        return Picture(alerts, self.groups, holds=Holds(self.silences, held))

    def stages(self) -> Stages:
        return stages(ROUTE, *self.inhibit_rules, flapping=self.flapping)

    def until(self, end: int, *episodes: Sequence[tuple[float, float]]) -> list[tuple[int, Message]]:
        """Decide at each second up to `end`; `episodes` are those of v1, v2, … Return the messages with their seconds.

        Seconds before `next_due` are decided on as well: nothing may come of them.
        """
        found = []
        due = 0.0
        last: list[AlertInstance] = []
        for at in range(self.now + 1, end + 1):
            alerts = [one for n, each in enumerate(episodes) for one in alert_at(at, each, f"v{n + 1}")]
            steps = decide(self.stages(), self.picture(alerts), at)
            assert not steps or alerts != last or at >= due, f"{steps} came at {at}, before {due}"
            self.groups |= {step.state.key: step.state for step in steps}
            found += [(at, step.message) for step in steps if step.message]
            due, last = next_due(self.stages(), self.picture(alerts), at), alerts
        self.now = end
        return found


def told(message: Message) -> str:
    """Return what a message says: edit or not, status, and the lines of its alerts."""
    card = render(message)
    lines = [line.replace("Slow: value 1", "Slow") for line in card.lines]
    return f"{'edit ' if message.edit else ''}{message.status}: {'; '.join(lines)}"


def test_without_the_setting_each_change_is_sent() -> None:
    found = Timeline(flapping=None).until(400, EVERY_30_S)
    assert [(at, message.status) for at, message in found] == [
        (10, "firing"),
        (90, "resolved"),
        (130, "firing"),
        (210, "resolved"),
        (250, "firing"),
        (310, "resolved"),
    ]


def test_it_is_told_that_an_alert_flaps_and_then_how_it_ended() -> None:
    line = Timeline()
    found = line.until(1168, EVERY_30_S)
    # The third begin, at 120, is the fifth change.
    assert [(at, told(message)) for at, message in found] == [
        (10, "firing: Slow"),
        (90, "resolved: ended at 1970-01-01 00:01:30 UTC, after firing for 30s (was: Slow)"),
        (130, "firing: Slow (flapping: 5 changes in the last 3 minutes)"),
        (190, "edit firing: Slow (flapping: 7 changes in the last 4 minutes)"),
        (250, "edit firing: Slow (flapping: 9 changes in the last 5 minutes)"),
        (310, "edit firing: Slow (flapping: 10 changes in the last 6 minutes)"),
    ]
    assert line.until(1169, EVERY_30_S) == []
    ((at, message),) = line.until(1300, EVERY_30_S)
    assert (at, told(message)) == (
        1170,
        "resolved: ended at 1970-01-01 00:04:30 UTC, after firing for 30s (was: Slow)",
    )
    assert not line.groups[KEY].is_open


def test_an_alert_that_flaps_and_then_stays_is_told_to_fire() -> None:
    line = Timeline()
    stays = [*EVERY_30_S[:4], (240.0, 9999.0)]
    line.until(1139, stays)
    ((at, message),) = line.until(5000, stays)
    assert (at, told(message)) == (1140, "firing: Slow (no longer flapping: no change in the last 15 minutes)")
    assert line.groups[KEY].flaps == ()
    assert [(at, told(message)) for at, message in line.until(9999, stays)] == [
        (8340, "firing: Slow"),
        (9999, "resolved: ended at 1970-01-01 02:46:39 UTC, after firing for 2h 42m 39s (was: Slow)"),
    ]


def test_after_a_pause_the_count_begins_anew() -> None:
    line = Timeline()
    calm = [*EVERY_30_S, (1500.0, 1600.0), (2600.0, 2700.0)]
    found = line.until(3000, calm)
    assert [told(message).partition(" (")[0] for at, message in found if at > 1170] == [
        "firing: Slow",
        "resolved: ended at 1970-01-01 00:26:40 UTC, after firing for 1m 40s",
        "firing: Slow",
        "resolved: ended at 1970-01-01 00:45:00 UTC, after firing for 1m 40s",
    ]


def test_one_that_never_fires_for_long_enough_to_be_told_is_told_when_it_flaps() -> None:
    short = [(float(n), n + 5.0) for n in range(0, 200, 20)]
    assert Timeline(flapping=None).until(400, short) == []
    line = Timeline()
    found = line.until(1084, short)
    assert next((at, told(message)) for at, message in found) == (
        50,
        "firing: Slow (flapping: 6 changes in the last 2 minutes)",
    )
    assert [message.status for _, message in line.until(1200, short)] == ["resolved"]


def test_a_pending_alert_that_flaps_fires_for_its_group() -> None:
    """With `for`, an alert is pending before each of its episodes."""
    pending = AlertInstance(
        "f;g;Slow", labels(), (), AlertState.PENDING, 1.0, 290.0, changes=(0.0, 10.0, 100.0, 110.0, 200.0, 210.0)
    )
    found = steadied(Picture([pending]), SETTINGS, 300.0)
    (fires,) = found.picture.instances
    assert (fires.state, fires.fired_at) == (AlertState.FIRING, 200.0)
    assert found.settles_at == 1110.0


def test_an_alert_beside_it_is_told_as_ever() -> None:
    line = Timeline()
    other = [(200.0, 260.0)]
    found = line.until(340, EVERY_30_S, other)
    assert [(at, told(message)) for at, message in found][2:] == [
        (130, "firing: Slow (flapping: 5 changes in the last 3 minutes)"),
        (190, "edit firing: Slow (flapping: 7 changes in the last 4 minutes)"),
        (200, "firing: Slow (flapping: 7 changes in the last 4 minutes); Slow"),
        (
            260,
            "firing: Slow (flapping: 9 changes in the last 5 minutes); "
            "ended at 1970-01-01 00:04:20 UTC, after firing for 1m 0s (was: Slow)",
        ),
        (320, "edit firing: Slow (flapping: 10 changes in the last 6 minutes)"),
    ]


def test_it_is_repeated_as_an_alert_that_fires() -> None:
    line = Timeline()
    long = [(float(n), n + 300.0) for n in range(0, 20_000, 600)]
    found = [(at, message) for at, message in line.until(9000, long) if not message.edit]
    assert [(at, message.status) for at, message in found] == [
        (10, "firing"),
        (300, "resolved"),
        (610, "firing"),
        (900, "resolved"),
        (1210, "firing"),
        (8410, "firing"),
    ]
    # The window is an hour: older changes do not count.
    assert "flapping: 12 changes in the last 56 minutes" in told(found[-1][1])


def test_it_goes_on_flapping_at_fewer_changes_than_it_began_with() -> None:
    """Two thresholds: five changes in an hour to begin, a change every quarter of an hour to go on."""
    slower = [(float(n), n + 30.0) for n in range(0, 240, 60)]
    slower += [(float(n), n + 899.0) for n in range(1000, 20_000, 1798)]
    line = Timeline()
    found = [(at, message) for at, message in line.until(18_000, slower) if not message.edit]
    assert [at for at, _ in found] == [10, 90, 130, 7330, 14_530]
    assert told(found[-1][1]) == "firing: Slow (flapping: 4 changes in the last 46 minutes)"


def test_a_flapping_alert_goes_on_holding_others_back() -> None:
    rule = InhibitRule(1, (Matcher("version", Op.EQUAL, "v1"),), (Matcher("version", Op.EQUAL, "v2"),))
    line = Timeline(inhibit_rules=(rule,))
    found = line.until(400, EVERY_30_S, [(130.0, 9999.0)])
    assert [at for at, message in found if any(dict(one.labels)["version"] == "v2" for one in message.firing)] == []


def test_an_acknowledgement_holds_through_the_episodes_of_a_flapping_alert() -> None:
    line = Timeline()
    line.until(140, EVERY_30_S)
    line.acknowledged = Acknowledgement(alert_at(140, EVERY_30_S)[0].fingerprint, 120.0, "ann", 140.0)
    found = line.until(1300, EVERY_30_S)
    assert [(at, told(message)) for at, message in found] == [
        (141, "edit firing: Slow (flapping: 5 changes in the last 3 minutes) (acknowledged by ann)"),
        (190, "edit firing: Slow (flapping: 7 changes in the last 4 minutes) (acknowledged by ann)"),
        (250, "edit firing: Slow (flapping: 9 changes in the last 5 minutes) (acknowledged by ann)"),
        (310, "edit firing: Slow (flapping: 10 changes in the last 6 minutes) (acknowledged by ann)"),
        (1170, "resolved: ended at 1970-01-01 00:04:30 UTC, after firing for 30s (was: Slow)"),
    ]


def silence_of(version: str, begin: float, end: float) -> Silence:
    return Silence("s1", (Matcher("version", Op.EQUAL, version),), begin, end, "ann", "known", begin)


def test_a_silenced_alert_that_flaps_is_not_shown_as_resolved() -> None:
    line = Timeline()
    line.until(140, EVERY_30_S)
    line.silences = (silence_of("v1", 140.0, 9999.0),)
    found = line.until(1300, EVERY_30_S)
    assert [(at, told(message)) for at, message in found] == [
        (1170, "resolved: ended at 1970-01-01 00:04:30 UTC, after firing for 30s (was: Slow)"),
    ]


def test_an_alert_flaps_on_while_a_silence_hides_it_from_the_messages_about_others() -> None:
    line = Timeline()
    line.until(140, EVERY_30_S)
    line.silences = (silence_of("v1", 140.0, 900.0),)
    found = line.until(1300, EVERY_30_S, [(200.0, 250.0)])
    assert [(at, told(message)) for at, message in found] == [
        (200, "firing: Slow"),
        (260, "resolved: ended at 1970-01-01 00:04:10 UTC, after firing for 50s (was: Slow)"),
        (900, "firing: Slow (flapping: 10 changes in the last 15 minutes)"),
        (1170, "resolved: ended at 1970-01-01 00:04:30 UTC, after firing for 30s (was: Slow)"),
    ]


def test_one_that_settles_firing_is_told_although_an_earlier_episode_was_acknowledged() -> None:
    line = Timeline()
    stays = [*EVERY_30_S[:4], (240.0, 9999.0)]
    line.until(140, stays)
    line.acknowledged = Acknowledgement(alert_at(140, stays)[0].fingerprint, 120.0, "ann", 140.0)
    found = [(at, message) for at, message in line.until(2000, stays) if not message.edit]
    assert [(at, told(message)) for at, message in found] == [
        (1140, "firing: Slow (no longer flapping: no change in the last 15 minutes)")
    ]


def test_turning_it_off_tells_the_state_as_it_is() -> None:
    line = Timeline()
    line.until(215, EVERY_30_S)
    line.flapping = None
    found = line.until(239, EVERY_30_S)
    assert [(at, message.status) for at, message in found] == [(216, "resolved")]


def test_explain_names_it() -> None:
    line = Timeline()
    line.until(215, EVERY_30_S)
    (instance,) = alert_at(215, EVERY_30_S)
    assert instance.state is AlertState.INACTIVE
    (leg,) = explain(line.stages(), line.picture([instance]), instance, 215)
    assert leg.stage == "flapping"
    assert leg.sentence == (
        "flapping: 8 changes in the last 4 minutes; its receiver was told so, and what becomes of it when it has not "
        "changed for 15m"
    )
    assert leg.due_at == 130 + 7200


def test_explain_says_that_it_is_still_to_be_told() -> None:
    line = Timeline()
    line.until(125, EVERY_30_S)
    (instance,) = alert_at(125, EVERY_30_S)
    (leg,) = explain(line.stages(), line.picture([instance]), instance, 125)
    assert (leg.stage, leg.due_at) == ("flapping", 130)
    assert "its receiver is told so with the group's next message" in leg.sentence


def test_messages_survive_storage_and_say_it_in_every_form() -> None:
    line = Timeline()
    message = line.until(135, EVERY_30_S)[-1][1]
    assert message_from_json(message_to_json(message)) == message
    assert render(message, CHINESE).lines == ("Slow：当前值 1 (抖动：最近 3 分钟内状态变化 5 次)",)
    (sent,) = webhook_payload(message, "ops", "http://c")["alerts"]
    assert (sent["status"], sent["annotations"]) == (
        "firing",
        {"flapping": "flapping: 5 changes in the last 3 minutes"},
    )


def test_a_message_of_an_earlier_release_has_no_flapping_alerts() -> None:
    message = Timeline().until(135, EVERY_30_S)[-1][1]
    stored = {key: value for key, value in message_to_json(message).items() if key != "flaps"} | {"format": 3}
    assert message_from_json(stored) == replace(message, flaps=())


@pytest.mark.parametrize(
    ("changes", "at", "known", "expected"),
    [
        ((0, 10, 20, 30), 40, False, None),
        ((0, 10, 20, 30), 40, True, 4),
        ((0, 10, 20, 30, 40), 40, False, 5),
        ((0, 10, 20, 30, 40), 939, False, 5),
        ((0, 10, 20, 30, 40), 940, True, None),
        ((0, 10, 20, 30, 40), 20, False, 5),  # the clock of another process was ahead
        ((0, 10, 920, 930, 940), 950, False, None),  # a pause came before the last three
        ((0, 800, 1600, 2400, 3200), 3599, False, 5),
        ((0, 800, 1600, 2400, 3200), 3600, False, None),
    ],
)
def test_what_counts(changes: Sequence[int], at: float, *, known: bool, expected: int | None) -> None:
    *earlier, last = map(float, changes)
    if len(changes) % 2:
        instance = AlertInstance("r", labels(), (), AlertState.FIRING, 1.0, 0.0, last, changes=tuple(earlier))
    else:
        *earlier, fired = earlier
        instance = AlertInstance(
            "r", labels(), (), AlertState.INACTIVE, 1.0, 0.0, fired, resolved_at=last, changes=tuple(earlier)
        )
    found = flap_of(instance, SETTINGS, at, told=known)
    assert (found.changes if found else None) == expected


def test_what_is_kept_is_bounded() -> None:
    (last,) = alert_at(9999, [(float(n), n + 1.0) for n in range(0, 10_000, 2)])
    assert len(last.changes) == MOST_CHANGES
    assert len(all_changes(last)) == MOST_CHANGES + 2
    (calm,) = alert_at(LONGEST_S + 2, [(0.0, 1.0), (2.0, LONGEST_S + 1.0), (LONGEST_S + 2, 99_999.0)])
    assert calm.changes == (2.0, LONGEST_S + 1.0)
    assert calm.moved_by(5.0).changes == (7.0, LONGEST_S + 6.0)


def test_a_flap_reads_as_a_sentence() -> None:
    assert Flap("f", 7, 300.0, 0.0).sentence == "flapping: 7 changes in the last 5 minutes"
