"""A dispatcher that skips idle ticks sends the same messages at the same times as one that runs every tick."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from alerts.dispatch import Decide, Deliveries, Dispatcher, GroupState, GroupStep, Picture
from alerts.interfaces import AlertInstance, AlertState, MessageRef
from collectors.samples import labels_of
from tests.routes import root, stages

ROUTE = root("ops", ("model",), wait_s=10, interval_s=30, repeat_s=120)
BEAT_S = 1.0


@dataclass
class Groups:
    """A GroupLog in memory, with deliveries."""

    alerts: tuple[AlertInstance, ...] = ()
    groups: dict[str, GroupState] = field(default_factory=dict)
    underway: dict[str, int] = field(default_factory=dict)
    """Ticks until a group's message is delivered or given up."""
    dead: set[str] = field(default_factory=set)
    looks: int = 0

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep]:
        self.looks += 1
        steps = decide(Picture(self.alerts, self.groups, Deliveries(set(self.underway), set(self.dead))))
        for step in steps:
            self.groups[step.state.key] = step.state
            if step.message:
                self.dead.discard(step.state.key)
                self.underway[step.state.key] = step.message.sequence % 4
        return steps

    def deliver(self) -> None:
        for key, left in list(self.underway.items()):
            self.underway[key] = left - 1
            if left <= 0:
                del self.underway[key]
                if self.groups[key].sequence % 3 == 2:
                    self.dead.add(key)

    def roots(self, wanted: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], MessageRef]:
        return {}

    def remember(self, places: Mapping[tuple[str, int], MessageRef]) -> None: ...


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time


def firing(numbers: set[int], at: float) -> tuple[AlertInstance, ...]:
    return tuple(
        AlertInstance("r", labels_of({"model": str(n % 2), "n": str(n)}), (), AlertState.FIRING, 1.0, at, fired_at=at)
        for n in sorted(numbers)
    )


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_is_later_and_nothing_is_lost(seed: int) -> None:
    chance, clock = random.Random(seed), Clock()
    always, told = Groups(), Groups()
    one, other = (
        Dispatcher(stages(ROUTE), always, clock),
        Dispatcher(stages(ROUTE), told, clock),
    )
    numbers: set[int] = set()
    for beat in range(600):
        changed = beat == 0 or chance.random() < 0.02
        if changed and beat:
            numbers = numbers ^ {chance.randrange(5)}
            always.alerts = told.alerts = firing(numbers, clock.time)
        if chance.random() < 0.005:
            clock.time -= chance.randrange(3600)
        assert await one.tick(changed=True) == await other.tick(changed=changed)
        always.deliver()
        told.deliver()
        clock.time += BEAT_S
    assert always.looks == 600 > told.looks


async def test_a_dispatcher_says_when_the_next_message_is_due() -> None:
    clock = Clock()
    began = clock.time
    groups = Groups(firing({1}, began))
    dispatcher = Dispatcher(stages(ROUTE), groups, clock)
    clock.time += 0.75
    assert dispatcher.due_at == math.inf
    (opened,) = await dispatcher.tick()
    assert (opened.message, dispatcher.due_at) == (None, began + 10), "the wait counts from the alert"
    clock.time = began + 10
    (sent,) = await dispatcher.tick(changed=False)
    assert sent.message is not None
    assert dispatcher.due_at == math.inf, "each tick has to decide while a message is underway"
    groups.underway.clear()
    assert await dispatcher.tick(changed=False) == ()
    assert dispatcher.due_at == began + 10 + 120


async def test_a_group_waits_from_now_on_for_an_alert_that_was_held_back_until_now() -> None:
    clock = Clock()
    groups = Groups(firing({1}, clock.time - 60))
    dispatcher = Dispatcher(stages(ROUTE), groups, clock)
    (opened,) = await dispatcher.tick()
    assert opened.state.opened_at == clock.time


async def test_a_clock_that_is_set_back_puts_off_no_repeat() -> None:
    groups, clock = Groups(firing({1}, 0)), Clock()
    dispatcher = Dispatcher(stages(replace(ROUTE, group_wait_s=0)), groups, clock)
    await dispatcher.tick()
    groups.underway.clear()
    assert [await dispatcher.tick(changed=False) for _ in range(3)] == [(), (), ()]
    looks = groups.looks
    clock.time -= 3600
    await dispatcher.tick(changed=False)
    assert groups.looks == looks + 1


async def test_a_message_that_was_given_up_is_told_anew_after_a_quarter_of_an_hour_though_nothing_changes() -> None:
    groups, clock = Groups(firing({1}, 0)), Clock()
    dispatcher = Dispatcher(stages(replace(ROUTE, group_wait_s=0, repeat_interval_s=4 * 3600)), groups, clock)
    (first,) = await dispatcher.tick()
    groups.underway.clear()
    groups.dead.add(first.state.key)
    told = []
    for _ in range(3600):
        clock.time += BEAT_S
        steps = await dispatcher.tick(changed=False)
        if steps:
            told.append(clock.time - 1_000_000.0)
            groups.underway.clear()
            groups.dead.add(first.state.key)
    assert told == [900, 1800, 2700, 3600]
