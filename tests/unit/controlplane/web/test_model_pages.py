"""The pages of a model, of the rollouts and of queries, as the server renders them."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html import unescape
from io import StringIO
from typing import Any

import pytest

from controlplane.access.roles import Role
from controlplane.config.model import Fleet
from controlplane.fleet.views import BackendView, ModelView, VersionView
from controlplane.metrics.promql.syntax.tree import parse
from controlplane.rollout.model import Phase
from controlplane.rollout.stored.records import to_record
from controlplane.rollout.wishes import Wait, WaitKind
from controlplane.store.rollout_log import RolloutLog
from controlplane.web.models.charts import Scope, of_model, quantile
from controlplane.web.models.comparison import Sourced, rows
from controlplane.web.models.page import backends
from controlplane.web.models.query import WORDS
from controlplane.web.models.rollouts import ROWS, Filters
from controlplane.web.models.versions import ordered
from tests.fakes.canary import ANALYSE
from tests.unit.controlplane.api.conftest import CONFIG, NOW
from tests.unit.controlplane.web.reading import words
from tests.unit.controlplane.web.test_steering import stored


def model(*versions: VersionView, driver: str = "gateway") -> ModelView:
    return ModelView(name="chat", driver=driver, stable="v1", can_promote=True, versions=versions)


def version(name: str, p99: float | None = None, source: str = "gateway", samples: float = 9000.0) -> VersionView:
    role = "stable" if name == "v1" else "candidate"
    return VersionView(
        version=name,
        role=role,
        state="ready",
        latency_p99_seconds=p99,
        latency_source=source if p99 else None,
        latency_samples=samples,
    )


def charts(page: str) -> list[dict[str, Any]]:
    return [json.loads(unescape(spec)) for spec in re.findall(r'data-chart="([^"]+)"', page)]


async def ended(console: Any, number: int, phase: Phase = Phase.SUCCEEDED) -> str:
    """Store a rollout that ended `number` minutes ago, after 30 s."""
    at = NOW - 60 * number
    console.rig.clock.time = at - 30
    started = await console.rig.rollouts.start("chat", "v2", actor="ann", idempotency_key=f"key-{number}")
    console.rig.clock.time = NOW
    done = replace(started, phase=phase, finished_at=at, sentence=f"=ended {number}")
    RolloutLog(console.rig.db).save(to_record(done), [], None, None)
    return str(started.id)


@pytest.mark.parametrize("driver", ["gateway", "triton", "none"])
def test_a_model_has_eight_charts_of_valid_promql_with_a_unit_or_a_count(driver: str) -> None:
    found = of_model(Scope("chat", ("v1", "v1.5"), {"latency_p99": 2.0, "ttft_p95": 1.0, "error_rate": 0.01}), driver)
    assert len(found) == 8
    for chart in found:
        for query in chart.queries:
            parse(query["expr"].replace("$window", "5m"))
            assert 'model="chat"' in query["expr"] and 'version=~"v1|v1[.]5"' in query["expr"]
    assert {chart.unit for chart in found} == {"per_second", "seconds", "ratio", "tokens_per_second", ""}
    assert [chart.thresholds for chart in found[1:4]] == [({"value": 2.0},), ({"value": 1.0},), ({"value": 0.01},)]
    assert any("kv_cache" in chart.queries[0]["expr"] for chart in found) is (driver != "triton")


def test_a_triton_without_first_tokens_has_its_mean_latency_instead() -> None:
    captions = [chart.caption for chart in of_model(Scope("chat"), "triton", streams=False)]
    assert captions[:3] == ["Requests per second", "P99 latency", "Mean latency"] and len(captions) == 8


def test_a_quantile_is_that_of_the_nearest_source_and_no_requests_are_no_value() -> None:
    expr = quantile(Scope("chat"), "x", 0.5)
    places = [expr.index(f'source="{source}"') for source in ("gateway", "proxy", "probe", "engine")]
    assert places == sorted(places)
    assert expr.count(">= 0") == 4 and expr.count("or on (version)") == 3


def test_the_best_and_the_worst_are_marked_and_differences_from_stable_told() -> None:
    found = rows(model(version("v1", 2.0), version("v2", 1.0), version("v3", 4.0)), {}, {})
    cells = [row.cells["p99"] for row in found]
    assert [(cell.mark, cell.delta) for cell in cells] == [("", ""), ("best", "-50%"), ("worst", "+100%")]


@pytest.mark.parametrize(
    "other",
    [version("v2", 1.0, "probe"), version("v2", 1.0, samples=20.0), version("v2", 1.99), version("v2")],
    ids=["another source", "few requests", "hardly differs", "unknown"],
)
def test_what_cannot_be_compared_has_no_mark(other: VersionView) -> None:
    found = rows(model(version("v1", 2.0), other), {}, {})
    assert [row.cells["p99"].mark for row in found] == ["", ""]


def test_a_difference_too_small_to_matter_is_not_told() -> None:
    first = {"v1": Sourced(0.5, "engine"), "v2": Sourced(0.504, "engine"), "v3": Sourced(0.6, "engine")}
    found = rows(model(version("v1"), version("v2"), version("v3")), first, {"v1": Sourced(300.0, "")})
    assert [row.cells["ttft"].delta for row in found] == ["", "", "+20%"]
    assert [row.cells["tokens"].value for row in found] == [300.0, None, None]


def test_backends_that_are_not_ready_come_first() -> None:
    urls = [("http://a", "ready", ""), ("http://b", "unavailable", "refused"), ("http://c", "loading", "")]
    views = tuple(BackendView(url=url, state=state, reason=reason) for url, state, reason in urls)
    found = backends(model(version("v1").model_copy(update={"backends": views})))
    assert [backend[2] for backend in found] == ["http://b", "http://c", "http://a"]


def test_a_version_that_left_the_file_comes_after_those_in_it() -> None:
    assert ordered(CONFIG, "chat", ("v9", "v1", None)) == ("v1", "v2", "v3", "v9")
    assert ordered(CONFIG, "gone", ("v2",)) == ("v2",)


async def test_a_models_page_has_charts_within_the_live_part_that_refreshes_leave_alone(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/models/chat")
    assert len(charts(page)) == 8
    assert page.index('id="live"') < page.index("data-still") < page.index('id="versions"')
    assert 'data-versions="v1 v2 v3"' in page and 'data-marks-model="chat"' in page
    assert charts(page)[1]["thresholds"] == [{"value": 2.0}]
    assert '<span class="version tint-1">v1</span>' in page and '<span class="version tint-2">v2</span>' in page


async def test_the_threshold_of_fleet_yaml_is_the_line_in_the_chart(console: Any) -> None:
    section = {"thresholds": {"latency_p99": {"value": "7s"}}}
    console.rig.config = Fleet.model_validate(CONFIG.model_dump(exclude_unset=True) | section)
    async with console.browser(Role.VIEWER) as browser:
        assert charts(await browser.page("/models/chat"))[1]["thresholds"] == [{"value": 7.0}]


async def test_alerts_of_other_models_and_for_machines_are_not_on_the_page(console: Any) -> None:
    console.alert("Mine", model="chat", version="v2")
    console.alert("Other", model="code")
    console.alert("Watchdog", severity="none", model="chat")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/models/chat")
    assert "Mine" in page and "Other" not in page and "Watchdog" not in page
    assert '<span class="count bad">1</span> firing' in page


async def test_a_rollout_that_waits_for_a_person_says_so_on_the_models_page(console: Any) -> None:
    stored(console, ANALYSE, wait=Wait(WaitKind.OPERATOR, "a hook failed"))
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/models/chat")
    card = page.split('aria-label="Rollout r-11aa of chat"')[1].split("</article>")[0]
    assert "needs a person" in card and "of the way to the switch" in card
    assert page.index("</article>") < page.index("data-still"), "it is above the charts"


async def test_running_rollouts_are_cards_above_the_ended_ones(console: Any) -> None:
    old = await ended(console, 5)
    running = await console.rig.rollouts.start("chat", "v2", actor="bob")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/rollouts")
        assert page.index(f'href="/rollouts/{running.id}"') < page.index(f'id="rollout-{old}"')
        assert "% of the way to the switch" in page
        assert "by bob, for" in words(page)
        only = await browser.page("/rollouts?phase=running")
        assert running.id in only and old not in only
        none = await browser.page("/rollouts?kind=rollback")
        assert "No rollout matches these filters." in none
        answer = await browser.client.get("/rollouts?model=&phase=failed&kind=")
        assert (answer.status_code, answer.headers["location"]) == (303, "/rollouts?phase=failed")
        assert (await browser.client.get("/rollouts?model=%3Cb%3E")).status_code == 400


async def test_the_list_has_pages_and_a_file_without_formulas(console: Any) -> None:
    for number in range(ROWS + 1):
        await ended(console, number + 1)
    async with console.browser(Role.VIEWER) as browser:
        first, second = await browser.page("/rollouts"), await browser.page("/rollouts?page=2")
        assert first.count('<tr id="rollout-') == ROWS and second.count('<tr id="rollout-') == 1
        assert (await browser.page("/rollouts?page=9")).count('<tr id="rollout-') == 1
        assert 'href="/rollouts?page=2" rel="next"' in first and 'href="/rollouts" rel="prev"' in second
        answer = await browser.client.get("/rollouts?format=csv&phase=succeeded")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    table = list(csv.DictReader(StringIO(answer.text)))
    assert len(table) == ROWS + 1
    assert (table[0]["model"], table[0]["to"], table[0]["sentence"]) == ("chat", "v2", "'=ended 1")


def test_an_address_has_the_filters_that_are_set() -> None:
    assert Filters("chat", "", "promote").address(page=2) == "/rollouts?model=chat&kind=promote&page=2"
    assert Filters().address() == "/rollouts"


async def test_a_rollouts_page_draws_both_versions_over_its_time(console: Any) -> None:
    identifier = await ended(console, 60, Phase.FAILED)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/rollouts/{identifier}")
    at = int(NOW) - 3600
    assert f'data-start="{at - 330}" data-end="{at + 300}"' in page
    assert len(charts(page)) == 4
    assert all('version=~"v1|v2"' in chart["queries"][0]["expr"] for chart in charts(page))


async def test_the_query_page_offers_only_what_the_engine_evaluates(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/query")
        assert 'aria-current="page"' in page and 'id="expr"' in page
    assert "rate" in WORDS["function"] and "sum" in WORDS["aggregation"]
    assert "holt_winters" not in WORDS["function"] and "limitk" not in WORDS["aggregation"]
    async with console.browser(None) as browser:
        assert (await browser.client.get("/query")).status_code == 303
