"""Costs from Cost Management beside the counts: four times a day, late, and an Azure that refuses or misbehaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from collectors.clouds.azure.meter import AzureMeter
from collectors.clouds.azure.token import Application
from collectors.clouds.metered.source import MeteredSource
from collectors.clouds.waiting import RETRY_S
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus
from collectors.exposition.parser import parse
from collectors.target import Auth
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_azure import CLIENT, RESOURCE, SECRET, TENANT, FakeAzure

INPUT, OUTPUT = "gpt 4o 0513 Input global Tokens", "gpt 4o 0513 Output global Tokens"
HOUR = 3600.0


class World:
    """A resource with costs, and its reader on one clock."""

    def __init__(self, azure: FakeAzure, secret: Path) -> None:
        self.azure, self.secret, self.now = azure, secret, moment("2026-11-28T10:00")
        azure.costs = {
            "2026-10-31": {INPUT: 99.0},
            "2026-11-27": {INPUT: 1.25, OUTPUT: 40.5},
            "2026-11-28": {INPUT: 0.5},
        }
        self.source = self.reader()

    def reader(self, costs: bool = True) -> MeteredSource:
        auth = Auth(credentials_file=str(self.secret))
        application = Application(TENANT, CLIENT, self.azure.url)
        meter = AzureMeter(self.azure.url, RESOURCE, application, auth, costs=costs, wall=lambda: self.now)
        return MeteredSource(meter, clock=lambda: self.now, wall=lambda: self.now)

    async def costs(self) -> dict[tuple[str, ...], float]:
        """Return the costs that a scrape shows, by meter and window."""
        parsed = parse(await self.source.read(30.0))
        return {
            tuple(value for _, value in series.labels if value): float(x)
            for series, x in zip(parsed.series, parsed.values, strict=True)
            if series.name == "llm_account_cost_usd"
        }

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
    with pytest.raises(ExpositionError, match="costs: the next page is on another host"):
        await world.costs()


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
    with pytest.raises(UnexpectedStatus, match=message) as told:
        await world.costs()
    assert SECRET not in str(told.value)


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
    with pytest.raises(UnexpectedStatus, match="costs: status 503"):
        await world.costs()
    world.azure.failures = {}
    world.now += RETRY_S
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
    with pytest.raises(ScrapeError, match=says):
        await world.costs()


async def test_a_resource_without_costs_has_none(world: World) -> None:
    world.azure.failures = {"costs": 204}
    assert await world.costs() == {}
