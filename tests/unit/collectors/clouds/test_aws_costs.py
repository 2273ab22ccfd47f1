"""Costs from Cost Explorer beside the counts: four times a day, days late, and an AWS that refuses or misbehaves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.meters import AwsPlace, aws_meter
from collectors.clouds.metered.source import MeteredSource
from collectors.clouds.waiting import RETRY_S
from collectors.exposition.parser import parse
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_aws import COSTS, KEY_ID, REGION, SECRET, FakeAws

OWN, CLAUDE = "Amazon Bedrock", "Claude 3.5 Sonnet (Amazon Bedrock Edition)"
HOUR = 3600.0
END = "llm_account_period_end_timestamp_seconds"


class World:
    """An account with costs, and its reader on one clock."""

    def __init__(self, aws: FakeAws, keys: Path) -> None:
        self.aws, self.keys = aws, keys
        self.at("2026-11-28T10:00")
        self.aws.costs = {
            "2026-10-31": {OWN: "99"},
            "2026-11-27": {OWN: "1.25", CLAUDE: "40.5", "Amazon SageMaker": "7", "AmazonCloudWatch": "3"},
            "2026-11-28": {OWN: "0.0000012"},
        }
        self.source = self.reader()

    def at(self, text: str) -> None:
        self.later(moment(text) - getattr(self, "now", 0.0))

    def later(self, seconds: float) -> None:
        self.now = self.aws.now = getattr(self, "now", 0.0) + seconds

    def reader(self, engine: str = "bedrock", costs: bool = True) -> MeteredSource:
        place = AwsPlace(REGION, KeyPlace(str(self.keys)), costs)
        meter = aws_meter(engine, self.aws.url, place, wall=lambda: self.now)
        return MeteredSource(meter, clock=lambda: self.now, wall=lambda: self.now)

    async def costs(self) -> dict[tuple[str, ...], float]:
        """Return the costs that a scrape shows, by service and window."""
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
        return self.aws.asked.count(COSTS)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    keys = tmp_path / "credentials"
    keys.write_text(f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
    async with FakeAws() as aws:
        made = World(aws, keys)
        yield made
        await made.source.close()


async def test_costs_are_those_of_the_engines_services_this_month_and_today(world: World) -> None:
    assert await world.costs() == {
        (OWN, "month"): pytest.approx(1.2500012),
        (OWN, "day"): pytest.approx(0.0000012),
        (CLAUDE, "month"): 40.5,
    }
    body = next(body for body in world.aws.bodies if "Granularity" in body)
    assert body["TimePeriod"] == {"Start": "2026-11-01", "End": "2026-11-29"}


async def test_sagemaker_has_its_own(world: World) -> None:
    await world.source.close()
    world.source = world.reader("sagemaker")
    assert await world.costs() == {("Amazon SageMaker", "month"): 7.0}


async def test_nobody_is_charged_without_the_setting(world: World) -> None:
    await world.source.close()
    world.source = world.reader(costs=False)
    assert await world.costs() == {}
    assert world.asked == 0


async def test_aws_is_asked_four_times_a_day_and_for_a_new_month_at_once(world: World) -> None:
    for _ in range(12 * 24):  # a scrape every five minutes for a day
        await world.costs()
        world.later(300.0)
    assert world.asked == 4
    world.at("2026-12-01T00:20")
    assert await world.costs() == {}
    assert world.asked == 5


async def test_all_pages_are_read(world: World) -> None:
    world.aws.page = 1
    assert (await world.costs())[CLAUDE, "month"] == 40.5
    assert world.asked == 2


async def test_a_key_that_may_not_read_costs_is_told_with_the_cure(world: World) -> None:
    world.aws.failures[COSTS] = "AccessDeniedException"
    assert "allow its user or role the IAM action ce:GetCostAndUsage" in await world.left_out()


async def test_costs_that_were_read_hold_for_a_day_while_aws_fails(world: World) -> None:
    before = await world.costs()
    world.aws.failures[COSTS] = "InternalFailure"
    world.later(7 * HOUR)
    assert (await world.costs())[CLAUDE, "month"] == before[CLAUDE, "month"]
    assert world.source.remark.startswith("the costs are those of an earlier reading: GetCostAndUsage: status 400")
    asked = world.asked
    world.later(RETRY_S + 300.0)
    await world.costs()
    assert world.asked > asked  # it is tried again soon
    world.later(18 * HOUR)
    assert "InternalFailure" in await world.left_out()
    del world.aws.failures[COSTS]
    world.later(RETRY_S + 300.0)
    assert (await world.costs())[CLAUDE, "month"] == 40.5


@pytest.mark.parametrize(
    ("amount", "unit", "says"),
    [("1", "CNY", "not in US dollars"), ("much", "USD", "could not convert"), ("nan", "USD", "no number")],
)
async def test_an_answer_of_another_form_is_named(world: World, amount: str, unit: str, says: str) -> None:
    world.aws.unit, world.aws.costs = unit, {"2026-11-27": {OWN: amount}}
    assert re.match(f"GetCostAndUsage: the answer is no page of costs: .*{says}", await world.left_out())


async def test_an_answer_without_days_is_named(world: World) -> None:
    async def nothing(_: dict[str, Any]) -> Any:
        from aiohttp import web

        return web.json_response({"ResultsByTime": None})

    world.aws.failures[COSTS] = nothing
    assert "no page of costs" in await world.left_out()
