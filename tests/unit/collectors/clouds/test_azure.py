"""Azure OpenAI read from Azure Monitor: tokens, whole periods, and an Azure that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collectors.catalogue.mapping import canonical_layout, missing
from collectors.catalogue.model import load_catalogue
from collectors.clouds.azure.meter import AzureMeter
from collectors.clouds.azure.token import Application
from collectors.clouds.metered.periods import PERIOD_S
from collectors.clouds.metered.source import MeteredSource
from collectors.clouds.waiting import RETRY_S
from collectors.errors import ExpositionError, ScrapeError, ScrapeTimeout, UnexpectedStatus
from collectors.exposition.parser import parse
from collectors.target import Auth, Target
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_azure import CLIENT, RESOURCE, SECRET, TENANT, FakeAzure

REQUESTS, INPUT, OUTPUT = "AzureOpenAIRequests", "ProcessedPromptTokens", "GeneratedTokens"
CYCLE = ["metrics"] * 4
AT = moment("2026-11-28T09:50")


class World:
    """A resource at Azure, its reader, and the time on all clocks."""

    def __init__(self, azure: FakeAzure, secret: Path) -> None:
        self.azure, self.secret, self.now = azure, secret, moment("2026-11-28T10:00")
        self.wall_ahead_s = 0.0
        self.opened: list[MeteredSource] = []
        self.source = self.reader()

    def reader(self, tenant: str = TENANT, resource: str = RESOURCE, **options: Any) -> MeteredSource:
        auth = Auth(credentials_file=str(self.secret))
        application = Application(tenant, CLIENT, self.azure.url)
        meter = AzureMeter(self.azure.url, resource, application, auth, wall=self.wall, **options)
        self.opened.append(MeteredSource(meter, clock=lambda: self.now, wall=self.wall))
        return self.opened[-1]

    def wall(self) -> float:
        return self.now + self.wall_ahead_s

    async def read(self, source: MeteredSource | None = None, timeout_s: float = 30.0) -> dict[tuple[str, ...], float]:
        """Return the samples: (name, label values in the order of names) -> value."""
        parsed = parse(await (source or self.source).read(timeout_s))
        return {
            (s.name, *(value for _, value in s.labels)): float(x)
            for s, x in zip(parsed.series, parsed.values, strict=True)
        }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    async with FakeAzure() as azure:
        made = World(azure, secret)
        yield made
        for source in made.opened:
            await source.close()


async def test_requests_by_status_and_tokens_are_counters_of_the_month(world: World) -> None:
    for at in (moment("2026-11-02T08:00"), AT, moment("2026-11-28T09:56")):
        for status in ("200", "400", "408", "429", "500", "weird"):
            world.azure.count(REQUESTS, "chat", at, 2, status)
        world.azure.count(INPUT, "chat", at, 100)
        world.azure.count(OUTPUT, "chat", at, 10)

    found = await world.read()
    assert {key[1:]: value for key, value in found.items() if key[0] == "llm_requests_total"} == {
        ("success", "chat"): 4,
        ("invalid", "400", "chat"): 4,
        ("timeout", "408", "chat"): 4,
        ("rejected", "429", "chat"): 4,
        ("error", "500", "chat"): 4,
        ("unknown", "weird", "chat"): 4,
    }
    assert found["llm_tokens_total", "chat", "input"] == 200
    assert found["llm_tokens_total", "chat", "output"] == 20
    assert found["llm_account_tokens", "chat", "input", "day"] == 100
    assert found["llm_account_requests", "chat", "month"] == 24
    assert found["llm_account_period_end_timestamp_seconds",] == moment("2026-11-28T09:55")
    assert world.azure.asked == ["token", *CYCLE]
    assert world.azure.queries[2] == {
        "api-version": "2023-10-01",
        "metricnamespace": "Microsoft.CognitiveServices/accounts",
        "metricnames": REQUESTS,
        "aggregation": "Total",
        "interval": "PT5M",
        "timespan": "2026-11-28T09:00:00Z/2026-11-28T09:55:00Z",
        "$filter": "ModelDeploymentName eq '*' and StatusCode eq '*'",
        "top": "1000",
    }


async def test_each_period_is_read_once_and_a_restart_finds_the_counters_again(world: World) -> None:
    world.azure.count(REQUESTS, "chat", AT, 2, "200")
    world.azure.count(REQUESTS, "chat", moment("2026-11-28T09:57"), 3, "200")
    success = ("llm_requests_total", "success", "chat")
    assert (await world.read())[success] == 2
    world.now = moment("2026-11-28T10:03")
    assert (await world.read())[success] == 5
    assert world.azure.queries[-1]["timespan"] == "2026-11-28T09:55:00Z/2026-11-28T10:00:00Z"
    assert await world.read(world.reader()) == await world.read()


async def test_a_token_is_kept_renewed_before_its_end_and_replaced_when_it_is_refused(world: World) -> None:
    await world.read()
    world.now = moment("2026-11-28T10:50")
    await world.read()
    assert world.azure.asked.count("token") == 1
    world.now = moment("2026-11-28T10:55")
    await world.read()
    assert world.azure.asked.count("token") == 2, "five minutes before its end"

    world.azure.good.clear()
    world.now = moment("2026-11-28T11:04")
    await world.read()
    assert world.azure.asked.count("token") == 3


async def test_a_wrong_secret_is_told_with_the_cure_and_without_the_secret(world: World) -> None:
    world.secret.write_text("wrong-secret")
    with pytest.raises(UnexpectedStatus) as told:
        await world.read()
    assert str(told.value) == (
        "no token: status 401 AADSTS7000215: the client secret is wrong; give the secret's value, not its id"
    )
    world.secret.write_text(SECRET)
    world.now += RETRY_S
    await world.read()


@pytest.mark.parametrize(
    ("what", "status", "cure"),
    [
        ("token", 400, "no token: status 400$"),
        ("metrics", 401, "Azure refuses the token; is azure.tenant that of the subscription"),
        ("metrics", 403, "give it the role Monitoring Reader on azure.resource"),
        ("metrics", 404, f"there is no resource {RESOURCE}; correct azure.resource"),
        ("metrics", 500, "metrics: status 500$"),
        ("metrics", 429, "too many requests; the next try is in 60 s"),
        ("token", 429, "too many requests; the next try is in 60 s"),
    ],
)
async def test_a_refusal_names_the_cure_and_no_secret(world: World, what: str, status: int, cure: str) -> None:
    world.azure.failures = {what: status}
    with pytest.raises(UnexpectedStatus, match=cure) as told:
        await world.read()
    assert "secret" not in str(told.value)
    world.azure.failures = {}
    world.now += RETRY_S
    await world.read()


async def test_an_answer_without_end_is_given_up(world: World) -> None:
    async def hanging(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    world.azure.failures = {"metrics": hanging}
    with pytest.raises(ScrapeTimeout, match=r"127.0.0.1 did not answer within 0.1 s"):
        await world.read(world.reader(request_s=0.1))


ROW = '{"value": [{"name": {"value": "AzureOpenAIRequests"}, "timeseries": [%s]}]}'
NAMES = '{"name": {"value": "ModelDeploymentName"}, "value": "m"}, {"name": {"value": "StatusCode"}, "value": "200"}'


@pytest.mark.parametrize(
    ("what", "text", "error", "message"),
    [
        ("token", "{}", ExpositionError, "the token: the answer has no access_token"),
        ("token", '{"access_token": "a\\nb", "expires_in": 5}', ExpositionError, "the token: "),
        ("metrics", "<html>", ExpositionError, "not JSON"),
        ("metrics", "{}", ExpositionError, "another form"),
        ("metrics", ROW % '{"data": []}', ExpositionError, "another form"),
        ("metrics", ROW % f'{{"metadatavalues": [{NAMES}], "data": [3]}}', ExpositionError, "another form"),
        (
            "metrics",
            ROW % f'{{"metadatavalues": [{NAMES}], "data": [{{"timeStamp": "soon", "total": 1}}]}}',
            ExpositionError,
            "another form",
        ),
        (
            "metrics",
            ROW % f'{{"metadatavalues": [{NAMES}], "data": [{{"timeStamp": "2026-11-28T09:50:00Z", "total": NaN}}]}}',
            ExpositionError,
            "another form",
        ),
        ("metrics", ROW % ",".join(["{}"] * 1000), ExpositionError, "more than 999 series"),
        ("metrics", '{"value": [{"errorCode": "Throttled"}]}', UnexpectedStatus, "a part of the numbers only"),
    ],
)
async def test_other_answers_are_told(
    world: World, what: str, text: str, error: type[ScrapeError], message: str
) -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.Response(text=text)

    world.azure.failures = {what: answering}
    with pytest.raises(error, match=message):
        await world.read()


async def test_the_numbers_are_canonical(world: World) -> None:
    world.azure.count(REQUESTS, "chat", AT, 2, "200")
    parsed = parse(await world.source.read(30.0))
    catalogue = load_catalogue()
    target = Target("azure-openai", world.azure.url, "azure-openai", "azure")
    layout = canonical_layout(parsed.series, parsed.metadata, target, catalogue)
    assert missing(layout, catalogue, "azure-openai") == ()
    labels = [dict(s.labels) for s in layout.raw if s.name == "llm_requests_total"]
    assert [(each["source"], each["model"], each["outcome"]) for each in labels] == [("account", "chat", "success")]


async def test_a_clock_that_was_a_day_ahead_does_not_stop_the_counts(world: World) -> None:
    total = ("llm_requests_total", "success", "chat")
    world.azure.count(REQUESTS, "chat", AT, 5, "200")
    world.wall_ahead_s = 86_400.0
    assert (await world.read())[total] == 5
    world.wall_ahead_s = 0.0
    world.azure.count(REQUESTS, "chat", world.now + 10, 2, "200")
    world.now += PERIOD_S
    assert (await world.read())[total] == 5
    world.now += PERIOD_S
    assert (await world.read())[total] == 7
