"""The pages of the fleet and of its targets: their addresses, what they show of large fleets, and the CSV."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import pytest

from alerts.interfaces import AlertState
from collectors.samples import labels_of
from collectors.target import Target, TargetHealth
from controlplane.access.roles import Role
from controlplane.config.model import Fleet
from controlplane.errors import QueryError
from controlplane.fleet import assemble
from controlplane.fleet.slos import SloReader
from controlplane.fleet.trends import ModelTrendView, TrendReader, TrendsView
from controlplane.fleet.views import GpuView
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.web.reading import words


def fleet_of(count: int) -> Fleet:
    models = [
        {"name": f"model-{n}", "stable": "v1", "traffic": {"driver": "none"}, "versions": {"v1": {}, "v2": {}}}
        for n in range(count)
    ]
    return Fleet.model_validate({"fleet": {"name": "prod"}, "models": models})


def target(number: int, health: str = "up", job: str = "vllm", **fields: Any) -> TargetHealth:
    instance = f"10.0.{number // 250}.{number % 250}:8000"
    labels = labels_of({"model": "chat", "version": f"v{number % 3}", "node": f"n{number % 7}"})
    one = Target("vllm", f"http://{instance}/metrics", job, instance, labels)
    return TargetHealth(one, health, last_scrape_at=NOW - 5, duration_s=0.01, samples=100, **fields)


def cards(page: str) -> list[str]:
    return re.findall(r'<article class="model[^>]*data-words="(\S+) ', page)


async def test_cards_are_searched_filtered_and_grouped_by_the_address(console: Any) -> None:
    console.alert("Slow", model="chat")
    async with console.browser(Role.VIEWER) as browser:
        assert cards(await browser.page("/")) == ["chat"]
        assert cards(await browser.page("/?q=CHA")) == ["chat"]
        assert cards(await browser.page("/?only=alerts&driver=triton&group=driver")) == ["chat"]
        page = await browser.page("/?driver=gateway")
        assert cards(page) == []
        assert "No model matches these filters." in words(page)
        assert 'hx-get="/?driver=gateway"' in page, "a refresh keeps the filters"
        await browser.page("/?group=odd", 400)


async def test_links_of_the_page_keep_the_rest_of_the_address(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/?q=chat&gpus=temperature")
    assert 'href="/?q=chat&amp;only=alerts&amp;gpus=temperature"' in page
    assert '<input type="hidden" name="gpus" value="temperature">' in page


async def test_groups_are_the_worst_first(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    console.rig.config = fleet_of(3)
    console.rig.rollouts = console.rig.rollouts_of(console.rig.config)
    console.alert("Late", AlertState.PENDING, model="model-1")
    console.alert("Hot", model="model-2")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/")
        assert cards(page) == ["model-2", "model-1", "model-0"]
        assert [page.index(words) for words in ("Alerts fire", "Needs a look", "Unknown")] == sorted(
            page.index(words) for words in ("Alerts fire", "Needs a look", "Unknown")
        )
        assert cards(await browser.page("/?group=none")) == ["model-0", "model-1", "model-2"]


async def test_a_causes_alert_has_its_runbook_and_operators_may_acknowledge_it(console: Any) -> None:
    fingerprint = console.alert("Hot", annotations={"runbook_url": "/runbooks/Hot.md"}, model="chat")
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page("/")
    assert f'hx-get="/alerts/{fingerprint}/acknowledge"' in page
    assert '<a href="/runbooks/Hot.md"' in page
    async with console.browser(Role.VIEWER) as browser:
        assert "/acknowledge" not in await browser.page("/")


async def test_lines_that_cannot_be_read_are_a_warning_on_a_whole_page(
    console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise QueryError("timeout", "the metrics server does not answer")

    async def no_slos(*_: object) -> None:
        raise QueryError("timeout", "the metrics server does not answer")

    monkeypatch.setattr(console.rig.queries, "range_json", fail)
    monkeypatch.setattr(SloReader, "slos", no_slos)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/")
    assert "Not known now: p99: " in words(page)
    assert "the metrics server does not answer" in page
    assert cards(page) == ["chat"]
    assert "<polyline" not in page


async def test_a_fleet_of_30_models_and_300_gpus_is_a_page_of_less_than_300_kilobytes(
    console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.rig.config = fleet_of(30)
    console.rig.rollouts = console.rig.rollouts_of(console.rig.config)
    numbers = {"utilization_ratio": 0.81, "memory_used_bytes": 6e10, "memory_total_bytes": 8e10, "power_watts": 410.0}
    gpus = tuple(
        GpuView(node=f"gpu-{n // 8}", gpu=f"GPU-{n:032x}", index=str(n % 8), temperature_celsius=61.0, **numbers)
        for n in range(300)
    )
    monkeypatch.setattr(assemble, "gpu_views", lambda *_: gpus)
    for n in range(60):
        console.alert(f"Alert{n % 5}", model=f"model-{n % 30}", annotations={"summary": "it is slow " * 10})
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page("/")
    assert len(cards(page)) == 30
    assert page.count('role="img" title="GPU ') == 300
    assert len(page.encode()) < 300_000


async def test_targets_that_are_not_up_are_told_with_the_time_since_when_and_why(console: Any) -> None:
    down = target(1, "down", last_error="connection refused", since=NOW - 600, last_good_at=NOW - 615)
    console.rig.targets = [target(2), replace(down, last_scrape_at=NOW - 3), TargetHealth(target(3).target)]
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/targets")
    table = page[page.index('aria-label="Targets that are not up"') : page.index('aria-label="Targets that are up"')]
    assert "10.0.0.1:8000 vllm vllm down for 10m 10m 15s ago connection refused" in words(table)
    assert "10.0.0.3:8000 vllm vllm unknown not scraped yet" in words(table)
    assert "10.0.0.2:8000" not in table


async def test_tabs_count_the_targets_of_the_other_filters(console: Any) -> None:
    blind = target(5, instead="has only python_info", missing=("llm_requests_total",))
    console.rig.targets = [target(1, "down"), blind, target(2), target(3, job="other")]
    async with console.browser(Role.VIEWER) as browser:
        page = words(await browser.page("/targets?job=vllm"))
        assert "all 3 down 1 blind 1 unknown 0 up 1" in page
        page = words(await browser.page("/targets?state=blind"))
        assert "all 4 down 1 blind 1 unknown 0 up 2" in page
        assert "has only python_info" in page and "10.0.0.2:8000" not in page
        assert "No target matches these filters." in words(await browser.page("/targets?q=nobody"))
        await browser.page("/targets?state=odd", 400)


async def test_a_thousand_targets_are_pages_of_less_than_300_kilobytes_that_all_tell_what_is_down(console: Any) -> None:
    console.rig.targets = [target(n, "up" if n > 20 else "down", last_error="" if n > 20 else "x") for n in range(1000)]
    async with console.browser(Role.VIEWER) as browser:
        first, last, beyond = [await browser.page(f"/targets?page={n}") for n in (1, 5, 99)]
    for page in (first, last):
        assert len(page.encode()) < 300_000
        assert page.count('<span class="state down">') == 21
    assert "1 to 200 of 979 that are up" in words(first)
    assert "801 to 979 of 979 that are up" in words(last)
    assert 'href="/targets?page=2" rel="next"' in first and 'rel="next"' not in last
    assert "801 to 979 of 979" in words(beyond)


async def test_the_csv_has_every_target_that_the_address_asks_for(console: Any) -> None:
    console.rig.targets = [target(n, "down", last_error="=cmd()", since=NOW) for n in range(600)]
    async with console.browser(Role.VIEWER) as browser:
        answer = await browser.client.get("/targets?format=csv&q=n3")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == sum(n % 7 == 3 for n in range(600))
    assert (rows[0]["state"], rows[0]["error"]) == ("down", "'=cmd()")
    assert rows[0]["since"] == "2027-01-15T08:00:00.000Z"
    assert "node=n3" in rows[0]["labels"]


@pytest.mark.parametrize("path", ["/", "/targets"])
async def test_the_pages_speak_chinese(console: Any, path: str) -> None:
    async with console.browser(Role.VIEWER) as browser:
        browser.client.cookies.set("cp_language", "zh")
        page = words(await browser.page(path))
    assert ("个采集目标正常" if path == "/" else "最近采集") in page


async def test_a_page_without_its_lines_asks_for_them_a_second_later(
    console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = TrendsView(generated_at="", step_seconds=90.0, limits={})

    async def trends(self: TrendReader, patience_s: float | None = None) -> TrendsView:
        return lines

    monkeypatch.setattr(TrendReader, "trends", trends)
    async with console.browser(Role.VIEWER) as browser:
        assert "load delay:1s" in await browser.page("/")
        lines = lines.model_copy(update={"models": (ModelTrendView(model="chat", lines=()),)})
        assert "load delay:1s" not in await browser.page("/")
        assert "load delay:1s" not in await browser.page("/targets")
