"""Several replicas on one database: they agree, and a failover loses no alert, repeats none, and pages nobody twice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from controlplane.store.database import Database
from tests.fakes.replicas import START, Process, World

WHOLE = [("inactive", "pending"), ("pending", "firing"), ("firing", "inactive")]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database)
    yield made
    await made.close()


async def pair(world: World) -> tuple[Process, Process]:
    """Start two replicas, the first of which alerts."""
    one, two = await world.start("one"), await world.start("two")
    await world.run(10, 50)
    assert world.holder() == "one"
    return one, two


async def answers(process: Process, expr: str) -> list[tuple[dict[str, str], float]]:
    return sorted(await process.value(expr), key=str)


async def agree(one: Process, two: Process) -> None:
    """Compare what both answer to whoever asks them."""
    for expr in ("temp:max", "temp:doubled", "ALERTS", "ALERTS_FOR_STATE"):
        assert await answers(one, expr) == await answers(two, expr), expr
    assert one.hot().state == two.hot().state
    assert one.hot().instances == two.hot().instances


async def test_replicas_answer_alike_in_every_state_of_an_alert(world: World) -> None:
    one, two = await pair(world)
    states = []
    for celsius, seconds in ((50, 10), (91, 10), (91, 20), (92, 10), (50, 20)):
        await world.run(seconds, celsius)
        await agree(one, two)
        states.append(two.hot().state)
    assert states == ["inactive", "pending", "firing", "firing", "inactive"]
    assert await two.value("temp:doubled") == [({"__name__": "temp:doubled"}, 100.0)]
    assert (world.told(), world.history()) == (["firing", "resolved"], WHOLE)


async def test_a_follower_says_whose_word_it_tells_and_of_when(world: World) -> None:
    one, two = await pair(world)
    await world.run(25, 91)
    own, heard = one.hot(), two.hot()
    assert (own.told_by, own.told_at, own.seen_at) == ("", None, None)
    assert (heard.told_by, heard.health) == ("one", "ok")
    assert heard.told_at is not None
    assert START + 20 <= heard.told_at <= START + 35
    assert heard.last_evaluation is not None
    assert heard.last_evaluation <= heard.told_at
    assert heard.seen_at == START + 35
    recording = [h for h in two.alerting.reports()[0].rules if h.rule.name == "temp:max"]
    assert [(h.told_by, h.last_evaluation) for h in recording] == [("", START + 35)]


async def test_a_dead_leader_is_followed_without_a_gap(world: World) -> None:
    one, two = await pair(world)
    await world.run(10, 91)
    (pending,) = world.alerts()
    one.runs = False
    await world.run(20, 91)
    assert world.holder() == "two"
    (firing,) = world.alerts()
    assert (firing.state.value, firing.active_at) == ("firing", pending.active_at)
    await world.run(20, 50)
    assert (world.told(), world.history()) == (["firing", "resolved"], WHOLE)
    assert await two.value("count_over_time(temp:max[50s])") == [({}, 10.0)]
    assert two.hot().told_by == ""


async def test_a_takeover_makes_up_for_the_alerts_that_nobody_decided_on(world: World) -> None:
    one, two = await pair(world)
    await world.run(16, 91)
    one.runs = False
    while world.holder() == "one":
        await world.run(1, 91)
    assert world.seconds() % 5, "no group is due at this second"
    assert (world.told(), world.history()) == (["firing"], WHOLE[:2])
    assert two.hot().last_evaluation == world.at
    await world.run(5, 91)
    assert await two.value("count_over_time(temp:max[30s])") == [({}, 6.0)], "recorded series keep their phase"


async def test_a_leader_that_dies_after_it_paged_is_not_repeated(world: World) -> None:
    one, _ = await pair(world)
    await world.run(30, 91)
    assert world.told() == ["firing"]
    one.runs = False
    await world.run(120, 91)
    assert (world.holder(), world.told()) == ("two", ["firing"])


async def test_a_leader_that_hangs_and_wakes_late_changes_nothing(world: World) -> None:
    one, two = await pair(world)
    await world.run(30, 91)
    one.runs = False
    await world.run(30, 50)
    assert (world.holder(), world.told()) == ("two", ["firing", "resolved"])
    one.runs = True
    await world.run(30, 50)
    assert (world.holder(), world.told(), world.history()) == ("two", ["firing", "resolved"], WHOLE)
    await agree(one, two)


async def test_a_leader_that_is_cut_off_pages_nobody(world: World) -> None:
    one, two = await pair(world)
    one.db.away = True
    await world.run(15, 50)
    await world.run(60, 91)
    assert world.holder() == "two"
    assert len(world.box.got) == 1, "the survivor told, and nobody else did"
    assert one.alerting.fault == (
        "the database is away; rules go on, 2 changes and 0 messages wait in memory; "
        "nothing is sent, since another replica may be alerting by now"
    )
    one.db.away = False
    await world.run(30, 91)
    assert one.alerting.fault == ""
    await agree(one, two)
    await world.run(20, 50)
    assert (world.told(), world.history()) == (["firing", "resolved"], WHOLE)


async def test_a_leader_that_is_cut_off_does_not_retry_what_its_successor_tells(world: World) -> None:
    one, _ = await pair(world)
    await world.run(24, 91)
    world.box.away = True
    await world.run(2, 91)
    assert world.history()[-1] == ("pending", "firing")
    one.db.away = True
    await world.run(5, 91)
    world.box.away = False
    await world.run(60, 91)
    assert (world.holder(), world.told()) == ("two", ["firing"])


async def test_a_leader_that_comes_back_before_it_wrote_goes_on_from_what_others_decided(world: World) -> None:
    one, two = await pair(world)
    one.db.away = True
    await world.run(40, 91)
    (before,) = world.alerts()
    assert (world.holder(), before.state.value) == ("two", "firing")
    two.runs = False
    await world.run(19, 91)  # its lease runs out
    one.db.away = False
    await world.run(1, 91)  # its first turn evaluates, and what it kept in memory is not written yet
    assert world.holder() == "one"
    (after,) = world.alerts()
    assert (after.state.value, after.active_at, after.fired_at) == ("firing", before.active_at, before.fired_at)
    await world.run(20, 50)
    assert (world.told(), world.history()) == (["firing", "resolved"], WHOLE)


async def test_who_takes_over_and_cannot_read_states_decides_nothing(world: World) -> None:
    one, two = await pair(world)
    await world.run(10, 91)
    (before,) = world.alerts()
    one.runs = False
    two.db.locked = True
    await world.run(40, 91)
    assert world.holder() == "two"
    assert await two.value("count_over_time(temp:max[40s])") == [({}, 8.0)]
    two.db.locked = False
    await world.run(10, 91)
    (after,) = world.alerts()
    assert (after.state.value, after.active_at) == ("firing", before.active_at)
    await world.run(20, 50)
    assert (world.told(), world.history()) == (["firing", "resolved"], WHOLE)


async def test_a_database_that_is_away_for_both_stops_pages_and_no_recorded_series(world: World) -> None:
    one, two = await pair(world)
    await world.run(10, 91)
    one.db.away = two.db.away = True
    await world.run(60, 91)
    assert world.told() == []
    for process in (one, two):
        assert process.alerting.fault.startswith("the database is away; rules go on, ")
        assert process.alerting.fault.endswith("nothing is sent, since another replica may be alerting by now")
    for process in (one, two):
        assert await process.value("count_over_time(temp:max[60s])") == [({}, 12.0)]
    one.db.away = two.db.away = False
    await world.run(30, 91)
    assert world.told() == ["firing"]
    (firing,) = world.alerts()
    assert firing.active_at == START + 15, "its for: did not begin anew"
    await agree(one, two)


async def test_who_is_alone_goes_on_paging_without_its_database(world: World) -> None:
    one = await world.start("one")
    await world.run(10, 50)
    one.db.away = True
    await world.run(60, 91)
    assert world.told() == ["firing"]


@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
async def test_a_followers_clock_that_is_set_right_moves_nothing(world: World, by_s: float) -> None:
    one = await world.start("one")
    two = await world.start("two", ahead_s=-by_s)
    await world.run(20, 91)
    (before,) = world.alerts()
    two.set_clock(by_s)
    await world.run(5, 91)
    one.runs = False
    await world.run(20, 91)
    (after,) = world.alerts()
    assert (world.holder(), after.active_at, after.state.value) == ("two", before.active_at, "firing")
    assert world.told() == ["firing"]


@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
async def test_a_leader_whose_clock_is_wrong_leaves_right_times_to_its_successor(world: World, by_s: float) -> None:
    one, _ = await pair(world)
    await world.run(10, 91)
    (before,) = world.alerts()
    one.set_clock(by_s)
    await world.run(3, 91)
    assert world.alerts()[0].active_at == before.active_at + by_s
    one.runs = False
    await world.run(20, 91)
    (after,) = world.alerts()
    assert (world.holder(), after.state.value) == ("two", "firing")
    assert abs(after.active_at - before.active_at) < 1.5
    assert world.told() == ["firing"]


@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
async def test_a_clock_that_is_set_just_before_a_takeover_moves_times_once(world: World, by_s: float) -> None:
    one, two = await pair(world)
    await world.run(10, 91)
    (before,) = world.alerts()
    one.runs = False
    while world.left_s() > 1:
        await world.run(1, 91)
    assert world.holder() == "one"
    two.set_clock(by_s)
    await world.run(1, 91)
    (after,) = world.alerts()
    assert world.holder() == "two"
    assert abs(after.active_at - before.active_at - by_s) < 1.5


async def test_a_rolling_restart_loses_and_repeats_nothing(world: World) -> None:
    one, two = await pair(world)
    await world.run(10, 91)
    (pending,) = world.alerts()
    one.runs = False
    await one.loop.close()
    await one.alerting.close()
    three = await world.start("three")
    await world.run(5, 91)
    assert world.holder() == "two"
    two.runs = False
    await two.loop.close()
    await two.alerting.close()
    await world.run(15, 91)
    assert world.holder() == "three"
    (firing,) = world.alerts()
    assert (firing.active_at, firing.state.value) == (pending.active_at, "firing")
    assert await three.value("count_over_time(temp:max[20s])") == [({}, 5.0)]
    await world.run(20, 50)
    assert (world.told(), world.history()) == (["firing", "resolved"], WHOLE)
