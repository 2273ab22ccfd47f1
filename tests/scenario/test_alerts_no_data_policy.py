"""Rules say what happens while data is away: `controlplane_no_data: keep`, `fire after …` or `resolve after …`.

The losses of data are those of the field: scrape errors, a renamed metric, a replaced target, a query that fails.
"""

from __future__ import annotations

import pytest

from alerts.errors import QueryFailed
from tests.scenario.data_world import STEP_S, T0, Make, World, gauge, make, rules, target

__all__ = ["make"]

FIRING = ("firing", None, ())
ENGINE, OTHER = (target("custom", f"e{n}:80", model="chat") for n in range(2))
E0, E1 = "custom/e0:80", "custom/e1:80"


def deep(policy: str = "", more: str = "", expr: str = "depth > 10") -> str:
    annotations = f"annotations: {{summary: deep, controlplane_no_data: {policy}}}" if policy else ""
    return rules(", ".join(filter(None, [f"alert: Deep, expr: '{expr}'", more, annotations])))


def reports(world: World) -> dict[str, str]:
    """Return the states of the alerts that report missing data, by target."""
    found = [(dict(i.labels), i.state.value) for i in world.log.active()]
    return {labels.get("instance", "-"): state for labels, state in found if "controlplane_no_data" in labels}


async def test_resolve_ends_an_alert_after_its_time_without_data(make: Make) -> None:
    world = make(deep("resolve after 1m"), ENGINE)
    await world.run(10, {"e0:80": gauge("depth", 50)})
    await world.run(60, {"e0:80": None})
    assert world.active() == {"Deep": ("firing", 10, (E0,))}
    await world.run(STEP_S)
    assert world.active() == {}
    assert world.story()[-1] == (
        "Deep went from firing to inactive: there has been no data for 1m 0s, and its rule says that it then ends; "
        "its target custom/e0:80 cannot be read: answered 503 (was: deep)"
    )
    await world.run(600)
    assert world.told() == ["firing", "resolved"]
    await world.run(STEP_S, {"e0:80": gauge("depth", 60)})
    assert world.active() == {"Deep": FIRING}
    assert world.told() == ["firing", "resolved", "firing"]


async def test_resolve_without_a_time_is_what_prometheus_does(make: Make) -> None:
    world = make(deep("resolve"), ENGINE)
    await world.run(10, {"e0:80": gauge("depth", 50)})
    await world.run(STEP_S, {"e0:80": None})
    assert world.active() == {}


async def test_data_that_is_back_in_time_leaves_the_policy_nothing_to_do(make: Make) -> None:
    world = make(deep("resolve after 1m"), ENGINE)
    await world.run(10, {"e0:80": gauge("depth", 50)})
    for _ in range(3):
        await world.run(55, {"e0:80": None})
        await world.run(STEP_S, {"e0:80": gauge("depth", 50)})
    assert (world.active(), world.told()) == ({"Deep": FIRING}, ["firing"])


async def test_fire_makes_a_pending_alert_fire(make: Make) -> None:
    world = make(deep("fire after 1m", "for: 10m"), ENGINE)
    await world.run(10, {"e0:80": gauge("depth", 50)})
    await world.run(60, {"e0:80": None})
    assert world.active() == {"Deep": ("pending", 10, (E0,))}
    await world.run(STEP_S)
    assert world.active() == {"Deep": ("firing", 10, (E0,))}
    assert world.story()[-1] == (
        "Deep went from pending to firing: there has been no data for 1m 0s, and its rule says that it then fires; "
        "its target custom/e0:80 cannot be read: answered 503 (was: deep)"
    )
    await world.run(STEP_S, {"e0:80": gauge("depth", 1)})
    assert world.active() == {}
    await world.run(STEP_S)
    assert world.told() == ["firing", "resolved"]


async def test_fire_reports_a_target_without_an_alert(make: Make) -> None:
    world = make(deep("fire after 1m", "labels: {severity: critical}"), ENGINE, OTHER)
    await world.run(10, {"e0:80": gauge("depth", 1), "e1:80": gauge("depth", 1)})
    assert world.active() == {}
    await world.run(60, {"e0:80": None})
    assert reports(world) == {"e0:80": "pending"}
    await world.run(STEP_S)
    assert reports(world) == {"e0:80": "firing"}
    (alert,) = world.log.active()
    assert dict(alert.labels) == {
        "alertname": "Deep", "severity": "critical", "job": "custom", "instance": "e0:80",
        "controlplane_no_data": "true",
    }  # fmt: skip
    assert dict(alert.annotations) == {
        "summary": "no data about Deep: target custom/e0:80 cannot be read: answered 503"
    }
    world.start(blind_s=20)  # a restart changes nothing, whatever is not known yet
    await world.run(600)
    assert reports(world) == {"e0:80": "firing"}
    await world.run(STEP_S, {"e0:80": gauge("depth", 1)})
    assert reports(world) == {}
    await world.run(STEP_S)
    assert world.told() == ["firing", "resolved"]


async def test_an_alert_that_waits_for_a_target_is_not_joined_by_a_report(make: Make) -> None:
    world = make(deep("fire after 1m"), ENGINE)
    await world.run(10, {"e0:80": gauge("depth", 50)})
    await world.run(600, {"e0:80": None})
    assert (world.active(), reports(world)) == ({"Deep": ("firing", 10, (E0,))}, {})


async def test_a_removed_target_is_reported_by_nobody(make: Make) -> None:
    world = make(deep("fire after 1m"), ENGINE, OTHER)
    await world.run(10, {"e0:80": gauge("depth", 1), "e1:80": gauge("depth", 1)})
    await world.run(120, {"e0:80": None})
    assert reports(world) == {"e0:80": "firing"}
    await world.replace(ENGINE)
    await world.run(STEP_S)
    assert reports(world) == {}


async def test_a_query_that_fails_makes_alerts_unknown_and_ends_none(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(deep(more="for: 20s"), ENGINE, OTHER)
    await world.run(30, {"e0:80": gauge("depth", 50), "e1:80": gauge("depth", 1)})
    await world.run(STEP_S, {"e1:80": gauge("depth", 50)})
    ask = world.querier.instant

    async def fail(expr: str, at: float) -> object:
        raise QueryFailed("the metrics server does not answer")

    monkeypatch.setattr(world.querier, "instant", fail)
    await world.run(600, failing=True)
    assert sorted((i.state.value, (i.unknown_since or 0) - T0, i.away) for i in world.log.active()) == [
        ("firing", 35, ("its query",)), ("pending", 35, ("its query",)),
    ]  # fmt: skip
    world.start()  # and a restart meanwhile
    monkeypatch.setattr(world.querier, "instant", fail)
    await world.run(60, failing=True)
    monkeypatch.setattr(world.querier, "instant", ask)
    await world.run(STEP_S)
    assert sorted((i.state.value, i.unknown_since) for i in world.log.active()) == [("firing", None), ("pending", None)]
    await world.run(STEP_S, {"e0:80": gauge("depth", 1), "e1:80": gauge("depth", 1)})
    assert world.active() == {}
    await world.run(STEP_S)
    assert world.told() == ["firing", "resolved"]


async def test_a_query_that_fails_follows_the_policy_too(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(deep("fire after 1m"), ENGINE)
    await world.run(10, {"e0:80": gauge("depth", 1)})

    async def fail(expr: str, at: float) -> object:
        raise QueryFailed("the metrics server does not answer")

    ask = world.querier.instant
    monkeypatch.setattr(world.querier, "instant", fail)
    await world.run(60, failing=True)
    assert reports(world) == {"-": "pending"}
    await world.run(STEP_S, failing=True)
    assert reports(world) == {"-": "firing"}
    assert dict(world.log.active()[0].annotations)["summary"] == (
        "no data about Deep: its query failed: the metrics server does not answer"
    )
    monkeypatch.setattr(world.querier, "instant", ask)
    await world.run(2 * STEP_S)
    assert (world.active(), world.told()) == ({}, ["firing", "resolved"])


async def test_a_metric_that_its_exporter_renames_ends_nothing(make: Make) -> None:
    world = make(deep(), ENGINE, OTHER)
    await world.run(10, {"e0:80": gauge("depth", 50), "e1:80": gauge("depth", 1)})
    await world.run(600, {"e0:80": gauge("queue_depth", 50)})
    assert world.active() == {"Deep": ("firing", 10, (E0,))}
    assert world.story()[-1] == (
        "Deep stays firing but is unknown: its target custom/e0:80 answers without depth (was: value 50 on "
        "instance=e0:80, job=custom, model=chat)"
    )
    await world.run(STEP_S, {"e0:80": gauge("depth", 1)})
    assert world.active() == {}


async def test_a_metric_that_was_renamed_before_keeps_no_alert(make: Make) -> None:
    world = make(deep(expr="max by (model) (depth) > 10"), ENGINE, OTHER)
    await world.run(10, {"e0:80": gauge("depth", 1), "e1:80": gauge("depth", 50)})
    await world.run(60, {"e0:80": gauge("queue_depth", 1)})
    assert world.active() == {"Deep": FIRING}
    await world.run(STEP_S, {"e1:80": gauge("depth", 1)})
    assert world.active() == {}


async def test_a_target_that_is_replaced_ends_nothing_until_its_successor_is_heard(make: Make) -> None:
    world = make(deep(expr="max by (model) (depth) > 10"), ENGINE)
    await world.run(10, {"e0:80": gauge("depth", 50)})
    world.unasked = {"e1:80"}
    await world.replace(ENGINE, OTHER)
    await world.run(10)
    assert world.active() == {"Deep": ("firing", 10, (E0,))}
    assert world.story()[-1].startswith(
        "Deep stays firing but is unknown: its target custom/e0:80 is no longer configured, and custom/e1:80 has no "
    )
    world.unasked = set()
    await world.run(300, {"e1:80": None})  # it loads its model
    assert world.active() == {"Deep": ("firing", 10, (E0,))}
    await world.run(STEP_S, {"e1:80": gauge("depth", 40)})
    assert world.active() == {"Deep": FIRING}
    assert world.told() == ["firing"]


async def test_a_successor_that_is_fine_ends_the_alert_of_the_target_before_it(make: Make) -> None:
    world = make(deep(expr="max by (model) (depth) > 10"), ENGINE)
    await world.run(10, {"e0:80": gauge("depth", 50)})
    world.unasked = {"e1:80"}
    await world.replace(ENGINE, OTHER)
    await world.run(10)
    world.unasked = set()
    await world.run(STEP_S, {"e1:80": gauge("depth", 1)})
    assert world.active() == {}
    assert world.story()[-1].endswith("; its target custom/e0:80 is no longer configured")


async def test_a_neighbour_that_was_down_before_is_no_successor(make: Make) -> None:
    world = make(deep(), ENGINE, OTHER)
    await world.run(60, {"e0:80": gauge("depth", 50), "e1:80": None})
    await world.replace(ENGINE)
    await world.run(STEP_S)
    assert world.active() == {}


async def test_a_restart_while_data_is_away_keeps_the_policys_time(make: Make) -> None:
    world = make(deep("resolve after 10m"), ENGINE)
    await world.run(10, {"e0:80": gauge("depth", 50)})
    await world.run(300, {"e0:80": None})
    world.start(blind_s=20)
    await world.run(300)
    assert world.active() == {"Deep": ("firing", 10, (E0,))}
    await world.run(STEP_S)
    assert world.active() == {}


async def test_one_of_five_that_is_gone_is_unknown_until_the_policy_ends_it(make: Make) -> None:
    five = [target("custom", f"e{n}:80", model="chat") for n in range(5)]
    world = make(deep("resolve after 1m", expr="max by (model) (depth) > 10"), *five)
    await world.run(10, {each.instance: gauge("depth", 1) for each in five} | {"e3:80": gauge("depth", 50)})
    await world.run(60, {"e3:80": None})
    assert world.active() == {"Deep": ("firing", 10, ("custom/e3:80",))}
    await world.run(STEP_S)
    assert world.active() == {}
