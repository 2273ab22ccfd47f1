"""Alerts of other senders: merging repetitions as Alertmanager does, firing and ending, as timelines."""

from __future__ import annotations

import pytest

from alerts.interfaces import AlertInstance
from alerts.received import ReceivedAlert, merged, step_received
from alerts.state import Step
from collectors.samples import labels_of

RULE = "received;prom;Hot"


def alert(start: float, end: float, at: float, *, timeout: bool = False, sender: str = "prom") -> ReceivedAlert:
    labels = labels_of({"alertname": "Hot", "gpu": "0"})
    return ReceivedAlert(labels, (("summary", "hot"),), sender, start, end, at, timeout)


def step(
    previous: tuple[AlertInstance, ...], *current: ReceivedAlert, at: float, ahead: float = 0.0, deaf: float = 0.0
) -> Step:
    return step_received(RULE, previous, current, at, ahead, deaf)


@pytest.mark.parametrize(
    ("old", "new", "start", "end"),
    [
        (alert(0, 240, 0), alert(0, 300, 60), 0, 300),  # a repetition moves the end
        (alert(0, 240, 0), alert(30, 300, 60), 0, 300),  # a second sender that saw it later
        (alert(0, 600, 0), alert(0, 300, 60), 0, 600),  # a given end that is later stays
        (alert(0, 600, 0, timeout=True), alert(0, 300, 60), 0, 300),  # an assumed end gives way
        (alert(0, 240, 0), alert(0, 60, 60), 0, 60),  # its end
        (alert(0, 50, 60), alert(0, 40, 70), 0, 50),  # of two ends in the past the later one
        (alert(0, 50, 60), alert(500, 740, 500), 500, 740),  # it is another one of the same labels
    ],
)
def test_repetitions_merge(old: ReceivedAlert, new: ReceivedAlert, start: float, end: float) -> None:
    made = merged(old, new)
    assert (made.starts_at, made.ends_at, made.updated_at) == (start, end, new.updated_at)


def test_the_first_sender_stays_the_sender_of_an_alert_of_two() -> None:
    assert merged(alert(0, 240, 0), alert(0, 300, 60, sender="other")).sender == "prom"
    assert merged(alert(0, 240, 0), alert(-90, -60, 60, sender="other")).sender == "prom", "it ends that alert"
    assert merged(alert(0, 50, 60), alert(500, 740, 500, sender="other")).sender == "other"


def test_it_fires_since_the_senders_start_and_ends_when_its_sender_says_so() -> None:
    first = step((), alert(70, 340, 100), at=100)
    (instance,) = first.instances
    assert (instance.state.value, instance.active_at, instance.fired_at) == ("firing", 70, 70)
    assert [t.sentence for t in first.transitions] == ["Hot went from inactive to firing: hot, says prom"]
    again = step(first.instances, alert(70, 400, 160), at=160)
    assert (again.instances, again.transitions) == (first.instances, ())
    last = step(again.instances, alert(70, 200, 201), at=201)
    assert last.instances[0].resolved_at == 201
    assert [t.sentence for t in last.transitions] == [
        "Hot went from firing to inactive: over after firing for 2m 11s, says its sender (was: hot)"
    ]
    assert step(last.instances, alert(70, 200, 201), at=201 + 900).instances == last.instances
    assert step(last.instances, at=201 + 900.1).instances == ()


def test_it_ends_when_nobody_repeats_it() -> None:
    first = step((), alert(100, 340, 100), at=100)
    assert step(first.instances, alert(100, 340, 100), at=339.9).transitions == ()
    assert [t.sentence for t in step(first.instances, alert(100, 340, 100), at=340).transitions] == [
        "Hot went from firing to inactive: over after firing for 4m 0s; prom has not repeated it for 4m 0s (was: hot)"
    ]


def test_time_in_which_nobody_could_hear_the_sender_ends_nothing() -> None:
    first = step((), alert(100, 340, 100), at=100)
    assert step(first.instances, alert(100, 340, 100), at=1239, deaf=1000).transitions == ()
    assert len(step(first.instances, alert(100, 340, 100), at=1240, deaf=1000).transitions) == 1
    long = alert(100, 7300, 100)  # `amtool alert add --end` in two hours: five minutes are enough to repeat it
    assert len(step(first.instances, long, at=7600, deaf=7300).transitions) == 1
    assert step(first.instances, long, at=7599, deaf=7300).transitions == ()
    said = alert(100, 150, 160)
    assert len(step(first.instances, said, at=161, deaf=161).transitions) == 1, "its sender said that it is over"


def test_two_clocks_are_told_apart() -> None:
    (instance,) = step((), alert(70, 340, 100), at=1100, ahead=1000).instances
    assert instance.fired_at == 1070
    assert step((instance,), alert(70, 340, 100), at=1339, ahead=1000).transitions == ()
    assert len(step((instance,), alert(70, 340, 100), at=1340, ahead=1000).transitions) == 1


def test_an_alert_from_the_future_fires_now() -> None:
    (instance,) = step((), alert(500, 800, 100), at=100).instances
    assert instance.fired_at == 100


def test_texts_refresh_and_the_start_stays() -> None:
    first = step((), alert(70, 340, 100), at=100)
    changed = ReceivedAlert(alert(70, 0, 0).labels, (("description", "hotter"),), "prom", 90, 400, 160)
    (instance,) = step(first.instances, changed, at=160).instances
    assert (dict(instance.annotations), instance.fired_at) == ({"description": "hotter"}, 70)


def test_an_alert_that_is_stored_nowhere_any_more_ends() -> None:
    first = step((), alert(70, 340, 100), at=100)
    assert [t.after.value for t in step(first.instances, at=200).transitions] == ["inactive"]


def test_earlier_changes_are_kept_while_the_sender_repeats_it() -> None:
    first = step((), alert(70, 340, 100), at=100)
    over = step(first.instances, alert(70, 200, 201), at=201)
    again = step(over.instances, alert(300, 540, 300), at=300)
    assert (again.instances[0].fired_at, again.instances[0].changes) == (300, (70, 201))
    assert step(again.instances, alert(300, 600, 360), at=360).instances[0].changes == (70, 201)
