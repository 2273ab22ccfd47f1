"""The dispatcher sorts alerts once, and again when anything that decides their place changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from alerts.dispatch import Decide, Deliveries, Dispatcher, GroupState, GroupStep, Picture, Stages
from alerts.dispatch.routing import Sorted, sort
from alerts.holds import Acknowledgement, Holds, Silence
from alerts.interfaces import AlertInstance, AlertState, MessageRef
from alerts.routing.config import read_alertmanager
from alerts.routing.matchers import Matcher, Op
from collectors.samples import labels_of

EVENING = 64_800.0
"""18:00 UTC of 1970-01-01."""
MUTED_AT_NIGHT = """
route: {receiver: ops, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h,
        routes: [{receiver: ops, matchers: ['team="day"'], mute_time_intervals: [night]}]}
time_intervals: [{name: night, time_intervals: [{times: [{start_time: '18:01', end_time: '23:00'}]}]}]
receivers: [{name: ops}]
"""


class Now:
    def now(self) -> float:
        raise AssertionError("the tick has its time")


class Memory:
    """A group log in memory. A message is underway until it is `delivered`."""

    def __init__(self) -> None:
        self.picture = Picture()
        self.groups: dict[str, GroupState] = {}

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep]:
        steps = decide(self.picture._replace(groups=dict(self.groups)))
        self.groups |= {step.state.key: step.state for step in steps}
        return steps

    def roots(self, wanted: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], MessageRef]:
        return {}

    def remember(self, places: Mapping[tuple[str, int], MessageRef]) -> None: ...


def alert(name: str, team: str = "day") -> AlertInstance:
    labels = labels_of({"alertname": name, "team": team})
    return AlertInstance("r", labels, (), AlertState.FIRING, 1.0, EVENING, fired_at=EVENING)


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        routing = read_alertmanager(MUTED_AT_NIGHT, "am.yml")
        self.log = Memory()
        self.dispatcher = Dispatcher(Stages(routing, {"ops": ("ops",)}, ""), self.log, Now())
        self.sorts = 0

        def counted(stages: Stages, picture: Picture, at: float) -> Sorted:
            self.sorts += 1
            return sort(stages, picture, at)

        monkeypatch.setattr("alerts.dispatch.dispatcher.sort_with_storms", counted)

    async def tick(self, after_s: float) -> list[str]:
        steps = await self.dispatcher.tick(EVENING + after_s)
        return [step.sentence.split("}")[-1].strip() for step in steps]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_while_a_message_is_underway_nothing_is_sorted_again(world: World) -> None:
    alerts = (alert("A"),)
    world.log.picture = Picture(alerts)
    assert await world.tick(0) == ["sends 1 new and 0 resolved alert(s), 1 firing"]
    world.log.picture = Picture(alerts, deliveries=Deliveries(underway={"x"}))
    for second in range(1, 5):
        assert await world.tick(second) == []
    assert world.sorts == 1


async def test_other_alerts_are_sorted_anew(world: World) -> None:
    world.log.picture = Picture((alert("A"),))
    await world.tick(0)
    world.log.picture = Picture((alert("A"), alert("B")))
    assert await world.tick(2) == ["sends 1 new and 0 resolved alert(s), 1 firing"]
    world.log.picture = Picture(())
    assert await world.tick(4) == ["resolved", "resolved"]
    assert world.sorts == 3


async def test_a_silence_and_an_acknowledgement_count_at_once_and_at_their_end(world: World) -> None:
    alerts = (alert("A"),)
    matchers = (Matcher("alertname", Op.EQUAL, "A"),)
    silence = Silence("1", matchers, EVENING, EVENING + 10, "ann", "why", EVENING)
    world.log.picture = Picture(alerts, holds=Holds((silence,)))
    assert await world.tick(0) == []
    assert await world.tick(9.9) == []
    assert world.sorts == 1
    assert await world.tick(10) == ["sends 1 new and 0 resolved alert(s), 1 firing"]
    taken = Acknowledgement(alerts[0].fingerprint, EVENING, "ann", EVENING + 11)
    world.log.picture = Picture(alerts, holds=Holds((silence,), {taken.fingerprint: taken}))
    assert await world.tick(12) == ["leaves out 1 alert(s) that are acknowledged or silenced"]
    world.log.picture = Picture(
        alerts, holds=Holds((silence,), {taken.fingerprint: replace(taken, until=EVENING + 20)})
    )
    assert await world.tick(13) == []
    assert await world.tick(20) == ["sends 1 new and 0 resolved alert(s), 1 firing"]


async def test_a_time_interval_begins_although_no_alert_changes(world: World) -> None:
    world.log.picture = Picture((alert("A"),))
    assert await world.tick(0) == ["sends 1 new and 0 resolved alert(s), 1 firing"]
    assert await world.tick(59) == []
    world.log.picture = Picture((alert("A"), alert("B")))
    assert await world.tick(60) == []  # B is muted from 18:01 on
    assert await world.tick(3600 * 5 - 1) == []
    assert sorted(await world.tick(3600 * 5)) == [
        "repeats 1 firing alert(s) after 1h",
        "sends 1 new and 0 resolved alert(s), 1 firing",
    ]


async def test_a_step_back_of_the_clock_sorts_anew(world: World) -> None:
    alerts = (alert("A"),)
    world.log.picture = Picture(alerts, deliveries=Deliveries(underway={"x"}))
    await world.tick(100)
    await world.tick(50)
    assert world.sorts == 2
