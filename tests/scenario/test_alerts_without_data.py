"""Targets that cannot be scraped: an alert keeps its state, says since when it is unknown, and does not resolve."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from alerts.interfaces import AlertInstance, Message
from alerts.no_data import Action, NoData
from alerts.notify.card import render
from alerts.packs import PackOptions, load_pack
from tests.fakes.override import Override
from tests.fakes.scrape_once import scrape_once
from tests.scenario.data_world import STEP_S, Make, gauge, make, rules, target

__all__ = ["make"]

DCGM = target("dcgm", "n1:9400")
GPU_LABELS = 'gpu="0",UUID="GPU-a",pci_bus_id="00000000:8D:00.0",device="nvidia0",modelName="NVIDIA H100",Hostname="n1"'


def gpu(celsius: float, used: float = 40000.0) -> str:
    numbers = {
        "DCGM_FI_DEV_GPU_TEMP": celsius,
        "DCGM_FI_DEV_FB_USED": used,
        "DCGM_FI_DEV_FB_FREE": 81000.0 - used,
        "DCGM_FI_DEV_POWER_USAGE": 450.5,
        "DCGM_FI_DEV_GPU_UTIL": 97.0,
        "DCGM_FI_DEV_XID_ERRORS": 0.0,
    }
    return "".join(f"# TYPE {name} gauge\n{name}{{{GPU_LABELS}}} {value}\n" for name, value in numbers.items())


GPU_PACK = tuple(
    load_pack(
        "gpu",
        {"temperature": Override(for_=10.0), "vram_ratio": Override(for_=10.0), "gpu_lost": Override(for_=1000.0)},
    )
)
FIRING = ("firing", None, ())
DOWN = "dcgm/n1:9400"


async def test_a_target_that_comes_back_while_its_rule_is_evaluated_ends_no_alert(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(rules("alert: Hot, expr: DCGM_FI_DEV_GPU_TEMP > 85, annotations: {summary: hot}"), DCGM)
    await world.run(30, {"n1:9400": gpu(93)})
    assert world.active() == {"Hot": FIRING}
    ask = world.querier.instant

    async def slowly(expr: str, at: float) -> object:
        found = await ask(expr, at)
        world.bodies["n1:9400"] = gpu(93)
        world.at += 0.1
        await scrape_once(world.scraping, DCGM, world.at)
        return found

    monkeypatch.setattr(world.querier, "instant", slowly)
    await world.run(STEP_S, {"n1:9400": None})
    assert world.active() == {"Hot": ("firing", 30, (DOWN,))}
    monkeypatch.setattr(world.querier, "instant", ask)
    await world.run(20)
    assert world.active() == {"Hot": FIRING}
    await world.run(20, {"n1:9400": gpu(50)})
    assert world.told() == ["firing", "resolved"]


RECORDED_SLOWLY = """\
groups:
- name: slow
  interval: 20s
  rules: [{record: hottest, expr: max by (gpu) (DCGM_FI_DEV_GPU_TEMP)}]
- name: fast
  rules: [{alert: Hot, expr: hottest > 85, annotations: {summary: hot}}]
"""


async def test_a_target_that_comes_back_before_its_series_is_recorded_again_ends_no_alert(make: Make) -> None:
    world = make(RECORDED_SLOWLY, DCGM)
    await world.run(60, {"n1:9400": gpu(93)})
    assert world.active() == {"Hot": FIRING}
    await world.run(STEP_S, {"n1:9400": None})
    assert world.active() == {"Hot": ("firing", 60, (DOWN,))}  # recorded at 60 s, when the target was away
    await world.run(3 * STEP_S, {"n1:9400": gpu(93)})
    assert world.active() == {"Hot": ("firing", 60, (DOWN,))}  # the target is back, the recorded series is not
    await world.run(60)
    assert world.active() == {"Hot": FIRING}
    await world.run(60, {"n1:9400": gpu(50)})
    assert (world.active(), world.told()) == ({}, ["firing", "resolved"])


async def test_an_exporter_that_fails_once_ends_no_alert(make: Make) -> None:
    world = make(GPU_PACK, DCGM)
    await world.run(30, {"n1:9400": gpu(93)})
    assert world.active() == {"GPUTemperatureHigh": FIRING}
    await world.run(STEP_S, {"n1:9400": None})
    assert world.active() == {"GPUTemperatureHigh": ("firing", 30, (DOWN,))}
    await world.run(60, {"n1:9400": gpu(94)})
    assert world.active() == {"GPUTemperatureHigh": FIRING}
    assert world.told() == ["firing"]
    assert world.story()[2:] == [
        "GPUTemperatureHigh stays firing but is unknown: its target dcgm/n1:9400 cannot be read: answered 503 "
        "(was: GPU on n1 is at 93 °C)",
        "GPUTemperatureHigh is still firing; its data is back after 5s: GPU on n1 is at 94 °C",
    ]


async def test_an_exporter_that_returns_with_good_news_ends_it(make: Make) -> None:
    world = make(GPU_PACK, DCGM)
    await world.run(30, {"n1:9400": gpu(93)})
    await world.run(3600, {"n1:9400": None})
    assert world.active() == {"GPUTemperatureHigh": ("firing", 30, (DOWN,))}
    assert world.told() == ["firing"]
    await world.run(STEP_S, {"n1:9400": gpu(60)})
    assert world.active() == {}
    await world.run(STEP_S)
    assert world.told() == ["firing", "resolved"]
    assert render(world.box.got[1]).lines[0] == (
        "ended at 2023-11-14 23:13:50 UTC, after firing for 1h 0m 20s (was: GPU on n1 is at 93 °C)"
    )


async def test_a_policy_of_fleet_yaml_ends_an_alert_of_a_pack(make: Make) -> None:
    resolve = PackOptions(no_data={"GPUTemperatureHigh": NoData(Action.RESOLVE, 60.0)})
    world = make(tuple(load_pack("gpu", {"temperature": Override(for_=10.0)}, resolve)), DCGM)
    await world.run(30, {"n1:9400": gpu(93)})
    await world.run(60, {"n1:9400": None})
    assert world.active()["GPUTemperatureHigh"] == ("firing", 30, (DOWN,))
    await world.run(STEP_S)
    assert "GPUTemperatureHigh" not in world.active()


async def test_data_that_says_fine_ends_it_at_once(make: Make) -> None:
    world = make(GPU_PACK, DCGM)
    await world.run(30, {"n1:9400": gpu(93)})
    await world.run(STEP_S, {"n1:9400": gpu(60)})
    assert world.active() == {}


async def test_an_alert_on_recorded_series_stays_too(make: Make) -> None:
    world = make(GPU_PACK, DCGM)
    await world.run(30, {"n1:9400": gpu(50, used=80500)})
    await world.run(600, {"n1:9400": None})
    assert world.active() == {"GPUMemoryHigh": ("firing", 30, (DOWN,))}
    await world.run(STEP_S, {"n1:9400": gpu(50)})  # its group records the series before it evaluates the alert
    assert world.active() == {}


@pytest.mark.parametrize(
    "body", ["", "# HELP x y\n", "".join(line + "\n" for line in gpu(93).splitlines() if "GPU_TEMP" not in line)]
)
async def test_a_target_that_answers_and_says_nothing_is_no_good_news(make: Make, body: str) -> None:
    world = make(GPU_PACK, DCGM)
    await world.run(30, {"n1:9400": gpu(93)})
    await world.run(300, {"n1:9400": body})
    assert world.active()["GPUTemperatureHigh"] == ("firing", 30, (DOWN,))
    assert world.told() == ["firing"]
    await world.run(10, {"n1:9400": gpu(60)})
    assert "GPUTemperatureHigh" not in world.active()


FIVE = [target("custom", f"e{n}:80", model="chat") for n in range(5)]
DEEP = rules("alert: Deep, expr: max by (model) (depth) > 10")


async def test_one_of_five_that_is_gone_may_be_the_one(make: Make) -> None:
    world = make(DEEP, *FIVE)
    bodies = {t.instance: gauge("depth", 1) for t in FIVE}
    await world.run(10, {**bodies, "e3:80": gauge("depth", 50)})
    assert world.active() == {"Deep": FIRING}
    await world.run(60, {"e3:80": None})
    assert world.active() == {"Deep": ("firing", 10, ("custom/e3:80",))}
    await world.run(STEP_S, {"e3:80": gauge("depth", 2)})
    assert world.active() == {}


async def test_one_that_was_away_already_keeps_no_alert(make: Make) -> None:
    world = make(DEEP, *FIVE)
    bodies: Mapping[str, str] = {t.instance: gauge("depth", 1) for t in FIVE}
    await world.run(10, bodies)
    await world.run(60, {"e4:80": None})
    await world.run(10, {"e3:80": gauge("depth", 50)})
    assert world.active() == {"Deep": FIRING}
    await world.run(STEP_S, {"e3:80": gauge("depth", 2)})
    assert world.active() == {}


async def test_a_target_of_another_model_keeps_no_alert(make: Make) -> None:
    other = target("custom", "x:80", model="code")
    world = make(DEEP, FIVE[0], other)
    await world.run(10, {"e0:80": gauge("depth", 50), "x:80": gauge("depth", 1)})
    await world.run(STEP_S, {"e0:80": gauge("depth", 1), "x:80": None})
    assert world.active() == {}


async def test_two_that_go_one_after_the_other_are_both_waited_for(make: Make) -> None:
    world = make(DEEP, *FIVE[:2])
    await world.run(10, {"e0:80": gauge("depth", 50), "e1:80": gauge("depth", 40)})
    await world.run(30, {"e0:80": None})
    assert world.active() == {"Deep": FIRING}  # e1 alone says so
    await world.run(10, {"e1:80": None})
    assert world.active() == {"Deep": ("firing", 40, ("custom/e1:80",))}
    await world.run(STEP_S, {"e1:80": gauge("depth", 1)})
    assert world.active() == {}, "e0 was away while e1 alone kept it firing"


async def test_one_that_returns_is_no_word_of_another_that_went_too(make: Make) -> None:
    world = make(DEEP, *FIVE[:2])
    await world.run(10, {"e0:80": gauge("depth", 50), "e1:80": gauge("depth", 40)})
    await world.run(10, {"e0:80": None, "e1:80": None})
    assert world.active() == {"Deep": ("firing", 10, ("custom/e0:80", "custom/e1:80"))}
    await world.run(10, {"e1:80": gauge("depth", 1)})
    assert world.active() == {"Deep": ("firing", 10, ("custom/e0:80",))}
    await world.run(STEP_S, {"e0:80": gauge("depth", 1)})
    assert world.active() == {}


def latency(seconds: float, requests: int) -> str:
    rows = [("0.1", requests if seconds <= 0.1 else 0), ("1", requests if seconds <= 1 else 0)]
    rows += [("8", requests), ("+Inf", requests)]
    buckets = "".join(f'took_bucket{{le="{le}"}} {count}\n' for le, count in rows)
    return f"# TYPE took histogram\n{buckets}took_sum {seconds * requests}\ntook_count {requests}\n"


async def test_a_quantile_of_rates_waits_until_its_window_is_full_again(make: Make) -> None:
    slow = "alert: Slow, expr: 'histogram_quantile(0.9, sum by (le, model) (rate(took_bucket[1m]))) > 2'"
    world = make(rules(slow), FIVE[0])
    for n in range(1, 13):
        await world.run(STEP_S, {"e0:80": latency(4, 10 * n)})
    assert world.active() == {"Slow": FIRING}
    await world.run(600, {"e0:80": None})
    state, since, away = world.active()["Slow"]
    assert (state, away) == ("firing", ("custom/e0:80",))
    assert since is not None
    assert 60 < since <= 120, "the rate goes on for as long as its window holds two samples"
    for n in range(1, 14):  # the engine was restarted: its counters begin anew
        await world.run(STEP_S, {"e0:80": latency(0.05, 10 * n)})
        assert world.active() == {"Slow": ("firing", since, ("custom/e0:80",))}, n
    await world.run(10, {"e0:80": latency(0.05, 150)})
    assert world.active() == {}
    assert world.told() == ["firing", "resolved"]


async def test_alerts_on_absence_itself_fire_and_resolve_as_ever(make: Make) -> None:
    down, gone = "alert: Down, expr: up == 0", "alert: Gone, expr: 'absent(depth{instance=\"e0:80\"})'"
    world = make(rules(down, gone), FIVE[0])
    await world.run(10, {"e0:80": gauge("depth", 1)})
    assert world.active() == {}
    await world.run(30, {"e0:80": None})
    assert world.active() == {"Down": FIRING, "Gone": FIRING}
    await world.run(10, {"e0:80": gauge("depth", 1)})
    assert world.active() == {}
    assert world.told() == ["firing", "firing", "resolved", "resolved"]


async def test_a_series_that_its_own_target_drops_is_over(make: Make) -> None:
    world = make(rules("alert: Deep, expr: depth > 10"), FIVE[0])
    both = gauge("depth", 50, pod="a") + 'depth{pod="b"} 1\n'
    await world.run(10, {"e0:80": both})
    await world.run(STEP_S, {"e0:80": gauge("depth", 1, pod="b")})
    assert world.active() == {}


async def test_a_restart_remembers_what_is_unknown(make: Make) -> None:
    world = make(GPU_PACK, DCGM)
    await world.run(30, {"n1:9400": gpu(93)})
    await world.run(10, {"n1:9400": None})
    world.start(blind_s=20)
    await world.run(600)
    assert world.active() == {"GPUTemperatureHigh": ("firing", 30, (DOWN,))}
    world.start()
    await world.run(STEP_S, {"n1:9400": gpu(60)})
    assert world.active() == {}
    assert world.told() == ["firing", "resolved"]


async def test_an_exporter_that_fails_while_the_control_plane_is_away_ends_nothing(make: Make) -> None:
    world = make(GPU_PACK, DCGM)
    await world.run(30, {"n1:9400": gpu(93)})
    for one in (DCGM.key, f"{DCGM.key}#report"):
        world.store.end(one, round((world.at - 1) * 1000))  # as a control plane that stops may do
    world.at += 120
    world.start(blind_s=20)
    await world.run(600, {"n1:9400": None})
    assert world.active() == {"GPUTemperatureHigh": ("firing", 170, (DOWN,))}
    assert world.told() == ["firing"]


async def test_a_target_that_is_removed_lets_its_alerts_go_and_says_why(make: Make) -> None:
    world = make(GPU_PACK, DCGM)
    await world.run(30, {"n1:9400": gpu(93)})
    await world.run(10, {"n1:9400": None})
    await world.remove(DCGM)
    await world.run(10)
    assert world.active() == {}
    assert world.story()[-1] == (
        "GPUTemperatureHigh went from firing to inactive: over after firing for 30s (was: GPU on n1 is at 93 °C); "
        "its target dcgm/n1:9400 is no longer configured"
    )
    assert world.told() == ["firing", "resolved"]
    assert "; dcgm/n1:9400 is no longer configured (was: " in render(world.box.got[1]).lines[0]


async def test_time_that_nobody_saw_does_not_count_towards_for(make: Make) -> None:
    world = make(rules("alert: Deep, expr: depth > 10, for: 30s"), FIVE[0])
    await world.run(15, {"e0:80": gauge("depth", 50)})
    assert world.active() == {"Deep": ("pending", None, ())}
    await world.run(600, {"e0:80": None})
    assert world.active() == {"Deep": ("pending", 15, ("custom/e0:80",))}
    await world.run(15, {"e0:80": gauge("depth", 50)})
    assert world.active() == {"Deep": ("pending", None, ())}
    await world.run(STEP_S)
    assert world.active() == {"Deep": FIRING}


async def test_what_was_seen_to_be_over_is_not_held_by_a_target_that_goes_then(make: Make) -> None:
    world = make(rules("alert: Deep, expr: depth > 10, keep_firing_for: 30s"), FIVE[0])
    await world.run(15, {"e0:80": gauge("depth", 50)})
    await world.run(10, {"e0:80": gauge("depth", 1)})
    assert world.active() == {"Deep": FIRING}
    await world.run(30, {"e0:80": None})
    assert world.active() == {}


async def test_a_label_that_the_query_makes_says_nothing_of_the_series(make: Make) -> None:
    made = '\'label_replace(depth > 10, "model", "m-$1", "model", "(.*)")\''
    world = make(rules(f"alert: Deep, expr: {made}"), FIVE[0])
    await world.run(10, {"e0:80": gauge("depth", 50)})
    await world.run(10, {"e0:80": None})
    assert world.active() == {"Deep": ("firing", 10, ("custom/e0:80",))}


async def test_messages_meanwhile_say_what_is_unknown(make: Make) -> None:
    world = make(rules("alert: Deep, expr: depth > 10, annotations: {summary: deep}"), *FIVE[:2])
    await world.run(10, {"e0:80": gauge("depth", 50), "e1:80": gauge("depth", 1)})
    await world.run(10, {"e0:80": None, "e1:80": gauge("depth", 60)})
    last = world.box.got[-1]
    assert [i.unknown_since is None for i in by_instance(last)] == [False, True]
    assert set(render(last).lines) == {
        "deep (unknown since 2023-11-14 22:13:30 UTC: no data from custom/e0:80)",
        "deep",
    }


def by_instance(message: Message) -> list[AlertInstance]:
    return sorted(message.firing, key=lambda i: dict(i.labels)["instance"])
