"""Costs from Cloud Billing's export to BigQuery: four times a day, late, and a BigQuery that refuses or misbehaves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from collectors.clouds.google.identities import GoogleIdentity
from collectors.clouds.google.meter import GoogleMeter
from collectors.clouds.metered.periods import PERIOD_S
from collectors.clouds.metered.source import MeteredSource
from collectors.exposition.parser import parse
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_google import PROJECT, TABLE, FakeGoogle

INPUT, OUTPUT = "Gemini 2.5 Flash Text Input", "Gemini 2.5 Flash Text Output"
HOUR = 3600.0
END = "llm_account_period_end_timestamp_seconds"


class World:
    """A project with costs, and its reader on one clock."""

    def __init__(self, google: FakeGoogle, key: Path) -> None:
        self.google, self.key = google, key
        self.later(moment("2026-11-28T10:00"))
        google.costs = {
            "2026-10-31": {INPUT: 99.0},
            "2026-11-27": {INPUT: 1.25, OUTPUT: 40.5},
            "2026-11-28": {INPUT: 0.5},
        }
        self.source = self.reader()

    def later(self, seconds: float) -> None:
        self.now = self.google.now = getattr(self, "now", 0.0) + seconds

    def reader(self, table: str = TABLE) -> MeteredSource:
        identity = GoogleIdentity(file=str(self.key))
        meter = GoogleMeter(self.google.url, PROJECT, identity, billing_table=table, wall=lambda: self.now)
        return MeteredSource(meter, clock=lambda: self.now, wall=lambda: self.now)

    async def costs(self) -> dict[tuple[str, ...], float]:
        """Return the costs that a scrape shows, by SKU and window."""
        parsed = parse(await self.source.read(30.0))
        return {
            tuple(value for _, value in series.labels if value): float(x)
            for series, x in zip(parsed.series, parsed.values, strict=True)
            if series.name == "llm_account_cost_usd"
        }

    async def left_out(self) -> str:
        """Return why a scrape that has all else shows no costs."""
        found = {series.name for series in parse(await self.source.read(30.0)).series}
        assert ("llm_account_cost_usd" in found, END in found) == (False, True)
        return self.source.remark.rpartition("the costs are left out: ")[2]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with FakeGoogle() as google:
        google.write_key(tmp_path / "key.json")
        made = World(google, tmp_path / "key.json")
        yield made
        await made.source.close()


WHOLE = {(INPUT, "month"): pytest.approx(1.75), (INPUT, "day"): pytest.approx(0.5), (OUTPUT, "month"): 40.5}


async def test_costs_are_those_of_the_skus_this_month_and_today(world: World) -> None:
    assert await world.costs() == WHOLE
    assert world.google.asked.count("query") == 1


async def test_nobody_is_asked_without_a_table(world: World) -> None:
    await world.source.close()
    world.source = world.reader("")
    assert (await world.costs(), world.google.asked.count("query")) == ({}, 0)


async def test_a_slow_query_is_waited_for_and_all_pages_are_read(world: World) -> None:
    world.google.slow, world.google.page = 2, 1
    assert await world.costs() == WHOLE
    assert [each for each in world.google.asked if each in ("query", "page")] == ["query", *["page"] * 4]


async def test_a_query_without_end_is_given_up(world: World) -> None:
    world.google.slow = 10**9
    assert await world.left_out() == "costs: the query does not end"


async def test_bigquery_is_asked_four_times_a_day_and_what_was_read_holds_for_a_day(world: World) -> None:
    for _ in range(24 * 2):
        await world.costs()
        world.later(1800)
    assert world.google.asked.count("query") == 4
    world.google.failures = {"query": 503}
    world.later(17 * HOUR)
    assert (await world.costs())[OUTPUT, "month"] == 40.5
    assert world.source.remark == "the costs are those of an earlier reading: costs: status 503"
    world.later(HOUR)
    assert await world.left_out() == "costs: status 503"
    world.google.failures = {}
    world.later(PERIOD_S)
    assert (await world.costs())[OUTPUT, "month"] == 40.5


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (403, "", "give the account roles/bigquery.jobUser in my-project and roles/bigquery.dataViewer on"),
        (403, '{"reason": "rateLimitExceeded"}', "too many requests"),
        (404, "", f"there is no table {TABLE}; correct google.billing_table"),
        (400, "", "google.billing_table is no standard export of Cloud Billing"),
        (400, '{"reason": "bytesBilledLimitExceeded"}', "reads more than 10 GiB"),
        (429, "", "too many requests"),
        (302, "", r"costs: status 302$"),
        (200, "<html>", "costs: the answer is not JSON"),
        (200, "{}", "no page of BigQuery's"),
        (200, '{"jobComplete": true}', "no page of BigQuery's"),
        (200, '{"jobComplete": true, "schema": {"fields": []}}', "no page of BigQuery's"),
    ],
)
async def test_a_refusal_and_another_answer_are_told(world: World, status: int, body: str, message: str) -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    world.google.failures = {"query": answering}
    assert re.search(message, await world.left_out())


async def test_an_error_shows_little_of_an_answer(world: World) -> None:
    world.google.costs = {"2026-11-27": {INPUT: 1.0}, "2026-11-28 " + "x" * 5000: {INPUT: 1.0}}
    told = await world.left_out()
    assert "no page of BigQuery's: unconverted data" in told
    assert len(told) < 300


@pytest.mark.parametrize("row", ['["soon", "m", "1"]', '["2026-11-27", "m", "nan"]', '["2026-11-27", "m", null]', "[]"])
async def test_a_row_of_another_form_is_told(world: World, row: str) -> None:
    async def answering(request: web.Request) -> web.Response:
        fields = ", ".join(f'{{"name": "{name}"}}' for name in ("day", "sku", "usd"))
        values = row.replace("[", "").replace("]", "")
        cells = ", ".join(f'{{"v": {each}}}' for each in values.split(", ") if each)
        rows = f'[{{"f": [{cells}]}}]'
        return web.Response(text=f'{{"jobComplete": true, "schema": {{"fields": [{fields}]}}, "rows": {rows}}}')

    world.google.failures = {"query": answering}
    assert "costs: the answer is no page of BigQuery's" in await world.left_out()
