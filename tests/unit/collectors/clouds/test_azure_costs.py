"""Costs from Cost Management beside the counts: four times a day, late, and an Azure that refuses or misbehaves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from collectors.clouds.azure.meter import AzureMeter
from collectors.clouds.azure.token import Application
from collectors.clouds.metered.periods import PERIOD_S
from collectors.clouds.metered.source import MeteredSource
from collectors.exposition.parser import parse
from collectors.target import Auth
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_azure import CLIENT, RESOURCE, SECRET, TENANT, FakeAzure
from tests.patience import HANG_S

INPUT, OUTPUT = "gpt 4o 0513 Input global Tokens", "gpt 4o 0513 Output global Tokens"
HOUR = 3600.0
END = "llm_account_period_end_timestamp_seconds"


class World:
    """A resource with costs, and its reader on one clock."""

    def __init__(self, azure: FakeAzure, secret: Path) -> None:
        self.azure, self.secret, self.now = azure, secret, moment("2026-11-28T10:00")
        self.wall_ahead_s = 0.0
        azure.costs = {
            "2026-10-31": {INPUT: 99.0},
            "2026-11-27": {INPUT: 1.25, OUTPUT: 40.5},
            "2026-11-28": {INPUT: 0.5},
        }
        self.source = self.reader()

    def reader(self, costs: bool = True) -> MeteredSource:
        auth = Auth(credentials_file=str(self.secret))
        application = Application(TENANT, CLIENT, self.azure.url)
        meter = AzureMeter(self.azure.url, RESOURCE, application, auth, costs=costs, wall=self.wall)
        return MeteredSource(meter, clock=lambda: self.now, wall=self.wall)

    def wall(self) -> float:
        return self.now + self.wall_ahead_s

    async def costs(self) -> dict[tuple[str, ...], float]:
        """Return the costs that a scrape shows, by meter and window."""
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

    @property
    def asked(self) -> int:
        return self.azure.asked.count("costs")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    async with FakeAzure() as azure:
        made = World(azure, secret)
        yield made
        await made.source.close()


async def test_costs_are_those_of_the_resources_meters_this_month_and_today(world: World) -> None:
    assert await world.costs() == {
        (INPUT, "month"): pytest.approx(1.75),
        (INPUT, "day"): pytest.approx(0.5),
        (OUTPUT, "month"): 40.5,
    }


async def test_nobody_is_asked_without_the_setting(world: World) -> None:
    await world.source.close()
    world.source = world.reader(costs=False)
    assert (await world.costs(), world.asked) == ({}, 0)


async def test_azure_is_asked_four_times_a_day_and_for_a_new_month_at_once(world: World) -> None:
    for _ in range(24 * 2):
        await world.costs()
        world.now += 1800
    assert world.asked == 4
    world.now = moment("2026-12-01T00:20")
    assert (await world.costs(), world.asked) == ({}, 5)


async def test_all_pages_are_read_and_none_on_another_host(world: World) -> None:
    world.azure.page = 1
    assert (await world.costs())[OUTPUT, "month"] == 40.5
    assert world.asked == 3
    world.azure.next_host = "http://127.0.0.2:1"
    await world.source.close()
    world.source = world.reader()
    assert await world.left_out() == "costs: the next page is on another host"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "Azure refuses the token"),
        (403, "give it the role Cost Management Reader on the resource group of azure.resource, or remove"),
        (302, r"costs: status 302$"),
        (500, r"costs: status 500$"),
    ],
)
async def test_a_refusal_names_the_cure(world: World, status: int, message: str) -> None:
    world.azure.failures = {"costs": status}
    told = await world.left_out()
    assert re.search(message, told)
    assert SECRET not in told


async def test_azures_own_header_says_when_the_next_request_is_welcome(world: World) -> None:
    async def full(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after": "300"})

    before = await world.costs()
    world.azure.failures = {"costs": full}
    world.now += 6 * HOUR
    assert await world.costs() == {key: value for key, value in before.items() if key[1] == "month"} | {
        (INPUT, "day"): pytest.approx(0.5)
    }
    asked = world.asked
    world.now += 299
    await world.costs()
    assert world.asked == asked
    world.now += 300
    await world.costs()
    assert world.asked == asked + 1


async def test_costs_that_were_read_hold_for_a_day_while_azure_fails(world: World) -> None:
    await world.costs()
    world.azure.failures = {"costs": 503}
    assert world.source.remark == ""
    world.now += 23 * HOUR
    assert (await world.costs())[OUTPUT, "month"] == 40.5
    assert world.source.remark == "the costs are those of an earlier reading: costs: status 503"
    world.now += HOUR
    assert await world.left_out() == "costs: status 503"
    world.azure.failures = {}
    world.now += PERIOD_S
    assert (await world.costs())[OUTPUT, "month"] == 40.5
    assert world.source.remark == ""


COLUMNS = '"columns": [{"name": "CostUSD"}, {"name": "UsageDate"}, {"name": "Meter"}]'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<html>", "costs: the answer is not JSON"),
        ("{}", "no page of costs"),
        ('{"properties": {"columns": [], "rows": []}}', "no page of costs"),
        (f'{{"properties": {{{COLUMNS}, "rows": [["1", 20261127, "m"]]}}}}', "a cost is no number"),
        (f'{{"properties": {{{COLUMNS}, "rows": [[NaN, 20261127, "m"]]}}}}', "a cost is no number"),
        (f'{{"properties": {{{COLUMNS}, "rows": [[1, "soon", "m"]]}}}}', "no page of costs"),
        (f'{{"properties": {{{COLUMNS}, "rows": [[1]]}}}}', "no page of costs"),
        (f'{{"properties": {{{COLUMNS}, "rows": [], "nextLink": "file:///etc"}}}}', "no page of costs"),
    ],
)
async def test_an_answer_of_another_form_is_named(world: World, text: str, says: str) -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.Response(text=text)

    world.azure.failures = {"costs": answering}
    assert says in await world.left_out()


async def test_a_resource_without_costs_has_none(world: World) -> None:
    world.azure.failures = {"costs": 204}
    assert await world.costs() == {}


async def test_an_azure_that_asks_to_wait_at_a_start_and_at_a_new_month_lacks_costs_alone(world: World) -> None:
    async def full(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "1800"})

    world.azure.failures = {"costs": full}
    world.now = moment("2026-11-30T23:00")
    assert await world.left_out() == "costs: status 429: too many requests; the next try is in 1800 s"
    world.now += 1799
    await world.left_out()
    assert world.asked == 1
    world.azure.failures = {}
    world.now += 300
    assert ((await world.costs())[OUTPUT, "month"], world.source.remark) == (40.5, "")
    world.azure.failures = {"costs": full}
    world.now = moment("2026-12-01T00:10")
    assert await world.left_out() == "costs: status 429: too many requests; the next try is in 1800 s"


async def test_costs_that_outlast_a_scrape_come_with_a_later_period(world: World) -> None:
    answers, asking = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse | None:
        asking.set()
        await answers.wait()
        return None

    world.azure.failures = {"costs": slow}
    reading = asyncio.create_task(world.source.read(0.5))
    await asking.wait()
    found = {series.name for series in parse(await reading).series}
    assert ("llm_account_cost_usd" in found, END in found) == (False, True)
    assert world.source.remark == "the costs are left out: the cloud has not answered yet, and is waited for"
    world.now += PERIOD_S
    answers.set()
    assert ((await world.costs())[OUTPUT, "month"], world.asked, world.source.remark) == (40.5, 1, "")
    # Costs that are known are shown while new ones are asked for.
    answers.clear()
    world.now += 6 * HOUR
    assert END in {series.name for series in parse(await world.source.read(0.5)).series}
    assert world.source.remark == ""
    world.now += PERIOD_S
    answers.set()
    assert ((await world.costs())[OUTPUT, "month"], world.asked) == (40.5, 2)


async def test_closing_ends_a_question_for_costs(world: World) -> None:
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return web.Response()

    world.azure.failures = {"costs": endless}
    await world.source.read(0.5)
    await world.source.close()
    world.source = world.reader(costs=False)
    async with asyncio.timeout(HANG_S):
        await ended.wait()


async def test_a_clock_that_was_two_days_ahead_does_not_put_the_costs_off(world: World) -> None:
    world.now = moment("2026-11-28T10:00") + 2 * 86_400
    await world.costs()
    world.wall_ahead_s = -2 * 86_400.0
    world.now += PERIOD_S
    await world.costs()
    assert world.asked == 2
    world.now += PERIOD_S
    await world.costs()
    assert world.asked == 2


@pytest.mark.parametrize(("names", "why"), [(1250, ""), (1251, "costs: they have 1251 names; 1250 are read at most")])
async def test_costs_of_too_many_names_are_left_out_alone(world: World, names: int, why: str) -> None:
    world.azure.costs = {"2026-11-28": {f"m{number}": 1.0 for number in range(names)}}
    world.azure.page = names
    if why:
        assert await world.left_out() == why
    else:
        assert len(await world.costs()) == 2 * names
