"""Whatever happens to alerts on their way, who was told that one fires is told that it has ended. Random timelines."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from alerts.changes import earlier_changes
from alerts.dispatch import Decide, Deliveries, Dispatcher, GroupState, GroupStep, Picture, Stages
from alerts.holds import Acknowledgement, Holds, Silence
from alerts.interfaces import AlertInstance, AlertState, Message, MessageRef
from alerts.routing.flapping import Flapping
from alerts.routing.matchers import Matcher, Op
from alerts.routing.storms import CAUSES, Storms
from alerts.routing.tree import Escalation, InhibitRule, Node
from collectors.samples import Labels, labels_of
from tests.routes import root, stages

STEP_S, BUSY_STEPS, CALM_STEPS = 5.0, 240, 600
"""Seconds of a step, steps in which alerts change, and steps after all have ended: longer than every wait."""
KEPT_S = 900.0
FLAPPING, STORMS = Flapping(5, 600.0, 300.0), Storms(4, 60.0, 0.7, CAUSES)
EVERYBODY = {name: (name,) for name in ("ops", "team", "boss")}
NODES, NAMES, MODELS = ("n1", "n2", "n3"), ("Hot", "Slow", "Down"), ("a", "b", "c", "d")


def equal(name: str, value: str) -> Matcher:
    return Matcher(name, Op.EQUAL, value)


def tree(*group_by: str) -> Node:
    """Return routes with a second receiver for some alerts, and an escalation."""
    route = root("ops", group_by, wait_s=10, interval_s=60, repeat_s=600)
    team = replace(
        route,
        path="route.routes[0]",
        matchers=(equal("alertname", "Slow"),),
        key='/{alertname="Slow"}',
        receiver="team",
        goes_on=True,
        group_by=("node",),
    )
    rest = replace(route, path="route.routes[1]", key="/{}", escalation=(Escalation(120.0, "boss"),))
    return replace(route, routes=(team, rest))


DOWN_INHIBITS_HOT = InhibitRule(
    1, source=(equal("alertname", "Down"),), target=(equal("alertname", "Hot"),), equal=("node",)
)


@dataclass
class World:
    """Alerts that begin and end by chance, people who hold some back, and what each receiver was told."""

    chance: random.Random
    dispatcher: Dispatcher = field(init=False)
    alerts: dict[Labels, AlertInstance] = field(default_factory=dict)
    groups: dict[str, GroupState] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    acknowledged: dict[str, Acknowledgement] = field(default_factory=dict)
    underway: set[str] = field(default_factory=set)
    told: dict[str, dict[Labels, str]] = field(default_factory=dict)
    """By receiver: the alerts that fire as far as it knows, with the group that said so last."""
    log: list[str] = field(default_factory=list)

    changed: bool = True
    picture: Picture = field(default_factory=Picture)

    def use(self, stages: Stages) -> None:
        self.dispatcher, self.changed = Dispatcher(stages, self, self), True

    def now(self) -> float:
        raise AssertionError("the tick has its time")

    def roots(self, wanted: object) -> Mapping[tuple[str, int], MessageRef]:
        return {}

    def remember(self, places: object) -> None: ...

    def change(self, at: float) -> None:
        """Let alerts begin and end, most of them of a node that fails or works again, and let people act."""
        if self.chance.random() < 0.03:
            node, fires = self.chance.choice(NODES), self.chance.random() < 0.6
            for labels in _labels(node):
                if self.chance.random() < 0.8:
                    self._set(labels, at, fires=fires)
        for labels in self.chance.sample(list(_labels(*NODES)), 2):
            if self.chance.random() < 0.3:
                self._set(labels, at, fires=self.chance.random() < 0.4)
        if self.chance.random() < 0.02:
            name, value = self.chance.choice([("node", self.chance.choice(NODES)), ("alertname", "Hot")])
            until = at + self.chance.choice((30.0, 300.0))
            self.silences.append(Silence(f"s{len(self.silences)}", (equal(name, value),), at, until, "ana", "", at))
        firing = [one for one in self.alerts.values() if one.state is AlertState.FIRING]
        if firing and self.chance.random() < 0.05:
            one = self.chance.choice(firing)
            assert one.fired_at is not None
            self.acknowledged[one.fingerprint] = Acknowledgement(one.fingerprint, one.fired_at, "ana", at)

    def end_all(self, at: float) -> None:
        for labels in list(self.alerts):
            self._set(labels, at, fires=False)

    async def dispatch(self, at: float) -> None:
        kept = [one for one in self.alerts.values() if one.resolved_at is None or at - one.resolved_at <= KEPT_S]
        if len(kept) < len(self.alerts):
            self.alerts, self.changed = {one.labels: one for one in kept}, True
        if self.changed:  # the stored alerts are one object until one changes
            self.picture = self.picture._replace(instances=tuple(kept))
        await self.dispatcher.tick(at, changed=self.changed)
        self.changed = False

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep]:
        holds = Holds(tuple(self.silences), dict(self.acknowledged))
        deliveries, self.underway = Deliveries(self.underway), set()
        steps = decide(self.picture._replace(groups=dict(self.groups), deliveries=deliveries, holds=holds))
        for step in steps:
            self.groups[step.state.key] = step.state
            self.log.append(f"{at:g} {step.sentence}")
            if step.message is not None:
                self._note(step.message, at)
                if self.chance.random() < 0.3:
                    self.underway.add(step.state.key)
        return steps

    def _note(self, message: Message, at: float) -> None:
        told = self.told.setdefault(message.receiver, {})
        for one in message.resolved:
            assert self._is_over(one.labels), (
                f"{one.labels} fires, and {message.group_key} says at {at} that it does not"
            )
            told.pop(one.labels, None)
        told |= {one.labels: message.group_key for one in message.firing}

    def _is_over(self, labels: Labels) -> bool:
        return labels not in self.alerts or self.alerts[labels].state is not AlertState.FIRING

    def _set(self, labels: Labels, at: float, *, fires: bool) -> None:
        before, self.changed = self.alerts.get(labels), True
        if fires and (before is None or before.state is not AlertState.FIRING):
            changes = earlier_changes(before, at)
            rule = f"f;g;{dict(labels)['alertname']}"
            self.alerts[labels] = AlertInstance(rule, labels, (), AlertState.FIRING, 1.0, at, at, changes=changes)
            self.log.append(f"{at:g} fires {labels}")
        elif not fires and before is not None and before.state is AlertState.FIRING:
            self.alerts[labels] = replace(before, state=AlertState.INACTIVE, resolved_at=at)
            self.log.append(f"{at:g} ends {labels}")


def _labels(*nodes: str) -> Iterator[Labels]:
    for node in nodes:
        for name in NAMES:
            for model in MODELS:
                yield labels_of({"alertname": name, "node": node, "model": model, "severity": "warning"})


def left_of(world: World) -> str:
    """Return what happened to the alerts that a receiver still takes for firing; "": there are none."""
    left = {labels for told in world.told.values() for labels in told}
    acts = [line for line in world.log if line.split()[1] not in ("fires", "ends") or any(str(o) in line for o in left)]
    return "\n".join((str(world.told), *acts)) if left else ""


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("reloads", [False, True], ids=["steady", "reloads"])
@pytest.mark.parametrize("flapping", [None, FLAPPING], ids=["changes", "flapping"])
@pytest.mark.parametrize("storms", [None, STORMS], ids=["groups", "storms"])
async def test_who_was_told_that_an_alert_fires_is_told_that_it_ended(
    storms: Storms | None, flapping: Flapping | None, seed: int, *, reloads: bool
) -> None:
    by_model = tree("alertname", "model")
    only_team = replace(by_model, receiver="team", routes=())
    ways = [
        stages(node, DOWN_INHIBITS_HOT, storms=storms, flapping=flapping, notifiers=EVERYBODY)
        for node in (by_model, tree("node"), tree("alertname"), only_team)
    ]
    world = World(random.Random(seed))
    world.use(ways[0])
    for step in range(BUSY_STEPS + CALM_STEPS):
        if reloads and step < BUSY_STEPS and world.chance.random() < 0.05:
            world.use(world.chance.choice(ways))
        if step < BUSY_STEPS:
            world.change(step * STEP_S)
        elif step == BUSY_STEPS:
            world.end_all(step * STEP_S)
        await world.dispatch(step * STEP_S)
    assert left_of(world) == ""
    assert not [key for key, group in world.groups.items() if group.is_open]
