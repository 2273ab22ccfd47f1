"""Alerts of other senders on either database: every replica takes them, the leader fires and ends them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from alerts.received import ReceivedAlert
from collectors.samples import labels_of
from controlplane.errors import Unavailable
from controlplane.store.alerting import received
from controlplane.store.alerting.received import ReceivedStore
from controlplane.store.database import Database
from tests.fakes.replicas import Process, World

LIFE_S = 240.0
"""Seconds until the end that Prometheus gives an alert at each repetition."""


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database)
    yield made
    await made.close()


async def send(process: Process, name: str = "Hot", ends_in: float = LIFE_S, sender: str = "prom") -> None:
    desk = process.alerting.receiving
    now = desk.shared_now
    labels = labels_of({"alertname": name, "node": "n1"})
    # A sender's clock is true, whatever the clock of a replica says.
    await desk.take([ReceivedAlert(labels, (("summary", "hot"),), sender, now, now + ends_in, now)])


async def pair(world: World, ahead_s: float = 0.0) -> tuple[Process, Process]:
    one = await world.start("one")
    two = await world.start("two", ahead_s)
    await world.run(10, 50)
    assert world.holder() == "one"
    return one, two


def seconds(world: World) -> list[tuple[int, str]]:
    return [(round(at), status) for at, status, _ in world.box.got]


async def test_an_alert_that_any_replica_takes_fires_once_and_ends_by_its_senders_word(world: World) -> None:
    one, two = await pair(world)
    await send(two)
    await send(one)
    await world.run(1, 50)
    (alert,) = world.alerts()
    assert (alert.rule, alert.state.value) == ("received;prom;Hot", "firing")
    await world.run(9, 50)
    await send(two, ends_in=0)
    await world.run(2, 50)
    assert (world.alerts(), seconds(world)) == ([], [(11, "firing"), (21, "resolved")])


async def test_nobody_repeats_it_and_it_ends_under_the_lease(world: World) -> None:
    await pair(world)
    await send(world.processes[1])
    await world.run(239, 50)
    assert [status for _, status in seconds(world)] == ["firing"]
    await world.run(2, 50)
    assert (world.alerts(), [status for _, status in seconds(world)]) == ([], ["firing", "resolved"])


async def test_a_new_leader_with_another_clock_ends_it_in_time_and_not_before(world: World) -> None:
    one, two = await pair(world, ahead_s=3600.0)
    await send(one)
    await world.run(5, 50)
    one.runs = False
    await world.run(60, 50)
    assert world.holder() == "two"
    await send(two)  # a repetition, 65 s after the first
    await world.run(235, 50)
    assert world.told() == ["firing"]
    (alert,) = world.alerts()
    assert alert.fired_at is not None
    assert round(alert.fired_at - two.now()) == -300
    await world.run(10, 50)
    assert (world.alerts(), world.told()) == ([], ["firing", "resolved"])


async def test_a_step_of_the_leaders_clock_ends_nothing(world: World) -> None:
    one, _ = await pair(world)
    await send(one)
    await world.run(5, 50)
    one.set_clock(7200.0)
    await world.run(200, 50)
    assert world.told() == ["firing"]
    one.set_clock(-9000.0)
    await world.run(20, 50)
    assert world.told() == ["firing"]
    await world.run(20, 50)
    assert world.told() == ["firing", "resolved"]


async def test_a_change_of_the_rules_ends_none(world: World) -> None:
    one, _ = await pair(world)
    await send(one)
    await world.run(5, 50)
    await one.configure()
    await world.run(5, 50)
    assert [alert.rule for alert in world.alerts()] == ["received;prom;Hot"]


async def test_a_replica_without_the_database_refuses(world: World) -> None:
    one, two = await pair(world)
    for process in (one, two):
        process.db.away = True
        with pytest.raises(Unavailable):
            await send(process)
        process.db.away = False


def alert(name: str, ends_at: float = 200.0, **annotations: str) -> ReceivedAlert:
    return ReceivedAlert(labels_of({"alertname": name}), tuple(annotations.items()), "prom", 100.0, ends_at, 100.0)


def test_changes_are_read_once_in_order_and_page_by_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "PAGE", 2)
    store = ReceivedStore(database)
    assert store.since(0) == ([], 0, True)
    store.put([alert("a"), alert("b"), alert("c")], 100.0)
    first = store.since(0)
    assert ([dict(one.labels)["alertname"] for one in first.alerts], first.seq, first.is_all) == (["a", "b"], 2, False)
    second = store.since(first.seq)
    assert ([dict(one.labels)["alertname"] for one in second.alerts], second.is_all) == (["c"], True)
    store.put([alert("a", 300.0)], 100.0)
    third = store.since(second.seq)
    assert [(dict(one.labels)["alertname"], one.ends_at) for one in third.alerts] == [("a", 300.0)]
    store.prune(250.0)
    assert [dict(one.labels)["alertname"] for one in store.since(0).alerts] == ["a"]


def test_more_alerts_than_the_limit_are_refused_whole(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "MOST", 2)
    store = ReceivedStore(database)
    store.put([alert("a"), alert("over", 50.0)], 100.0)
    with pytest.raises(Unavailable, match="2 alerts of other senders are stored"):
        store.put([alert("b"), alert("c")], 100.0)
    store.put([alert("b")], 100.0)
    assert len(store.since(0).alerts) == 3
