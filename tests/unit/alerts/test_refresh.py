"""Refreshes of receivers that forget alerts, as a timeline of stored states."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest

from alerts.dispatch import Deliveries, GroupState, Picture
from alerts.errors import DeliveryFailed
from alerts.interfaces import AlertInstance, AlertState, Message, MessageRef
from alerts.sending.refresh import Refresher


def alert(name: str, state: AlertState = AlertState.FIRING) -> AlertInstance:
    over = 20.0 if state is AlertState.INACTIVE else None
    labels = (("alertname", name),)
    return AlertInstance("r", labels, (), state, 1.0, 0.0, fired_at=10.0, resolved_at=over)


def group(receiver: str, *alerts: AlertInstance, is_open: bool = True) -> GroupState:
    return GroupState(f"{receiver}{{}}", receiver, (), 1, 1, is_open, 0.0, 10.0, alerts)


class Box:
    """A receiver that forgets."""

    def __init__(self, name: str = "am") -> None:
        self.name = name
        self.got: list[tuple[list[str], list[str]]] = []
        self.fault = ""

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        raise AssertionError("a refresh is no message")

    async def close(self) -> None: ...

    async def refresh(self, firing: Sequence[AlertInstance], ended: Sequence[AlertInstance] = ()) -> None:
        if self.fault:
            raise DeliveryFailed(self.fault)
        names = [[dict(a.labels)["alertname"] for a in alerts] for alerts in (firing, ended)]
        self.got.append((names[0], names[1]))


class Remembers:
    """A receiver that needs no refresh."""

    name = "slack"

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        raise AssertionError

    async def close(self) -> None: ...


async def test_an_alert_is_refreshed_from_its_message_until_its_row_is_gone() -> None:
    a, b = alert("a"), alert("b")
    state = Picture()
    box = Box()
    refresher = Refresher(lambda: state)

    async def then(*instances: AlertInstance, groups: Sequence[GroupState], underway: Sequence[str] = ()) -> None:
        nonlocal state
        state = Picture(instances, {each.key: each for each in groups}, Deliveries(underway))
        await refresher.tick((box, Remembers()))

    await then(a, b, groups=())
    await then(a, b, groups=(group("am", a), group("slack", b)))
    await then(a, b, groups=(group("am", a, b),), underway=("am{}",))
    await then(a, b, groups=(group("am", a, b),))
    over = replace(alert("a", AlertState.INACTIVE))
    await then(over, b, groups=(group("am", a, b),))
    await then(over, b, groups=(group("am", b),))
    await then(over, b, groups=(group("am", b),))
    await then(b, groups=(group("am", b),))
    await then(alert("b", AlertState.INACTIVE), groups=(group("am", is_open=False),))
    await then(groups=())
    assert box.got == [
        ([], []),  # it fires, and nobody was told yet
        (["a"], []),  # the other alert belongs to another receiver
        ([], []),  # a message is underway, and is newer
        (["a", "b"], []),
        (["b"], []),  # it is over, and the message about that is not sent yet
        (["b"], ["a"]),
        (["b"], ["a"]),  # a member of a cluster that was away learns it now
        (["b"], []),
        ([], ["b"]),
        ([], []),
    ]


async def test_muted_and_moved_alerts_are_not_said_to_have_ended() -> None:
    a = alert("a")
    groups = [{"am{}": group("am", a)}, {"am{}": group("am")}]
    refresher = Refresher(lambda: Picture((a,), groups.pop(0)))
    box = Box()
    await refresher.tick((box,))
    await refresher.tick((box,))
    assert box.got == [(["a"], []), ([], [])]


async def test_nothing_is_read_for_receivers_that_remember() -> None:
    def never() -> Picture:
        raise AssertionError

    await Refresher(never).tick((Remembers(),))


async def test_a_failure_is_logged_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    a = alert("a")
    refresher = Refresher(lambda: Picture((a,), {"am{}": group("am", a)}))
    box, other = Box(), Box("am")
    box.fault = "am is away"
    for _ in range(3):
        await refresher.tick((box, other))
    box.fault = ""
    await refresher.tick((box,))
    box.fault = "am is away"
    with caplog.at_level(logging.WARNING):
        await refresher.tick((box,))
    assert len(other.got) == 3, "one receiver's failure keeps nothing from another"
    assert [record.getMessage() for record in caplog.records].count(
        "alerts of am could not be refreshed: am is away"
    ) == len(caplog.records)
