"""Usage and costs of hosted accounts: the providers' reports over HTTP, and providers that misbehave."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collectors.catalogue.mapping import canonical_layout, missing
from collectors.catalogue.model import load_catalogue
from collectors.clouds.providers import PROVIDERS
from collectors.clouds.source import POLL_S, AccountSource
from collectors.clouds.waiting import MAX_RETRY_S, RETRY_S
from collectors.errors import ExpositionError, ScrapeError, ScrapeTimeout, UnexpectedStatus, Unreachable
from collectors.exposition.parser import parse
from collectors.samples import labels_of
from collectors.target import Auth, Target
from tests.fakes.cloud_accounts import KEY, FakeAccounts, moment

SLOW_S = 30.0
COMPLETIONS, EMBEDDINGS = "/v1/organization/usage/completions", "/v1/organization/usage/embeddings"
COSTS = "/v1/organization/costs"
MESSAGES, COST_REPORT = "/v1/organizations/usage_report/messages", "/v1/organizations/cost_report"
CYCLE = [COMPLETIONS, EMBEDDINGS, COSTS]


def usage(model: str, inputs: int, outputs: int, requests: int, project: str | None = "proj_1") -> dict[str, Any]:
    counts = {"input_tokens": inputs, "input_cached_tokens": inputs // 2, "output_tokens": outputs}
    return {"model": model, "project_id": project, "num_model_requests": requests, **counts}


def cost(item: str | None, usd: float, project: str | None = "proj_1") -> dict[str, Any]:
    return {"line_item": item, "project_id": project, "amount": {"value": usd, "currency": "usd"}}


class World:
    """One account, and the time on both clocks."""

    def __init__(self, provider: FakeAccounts, key: Path) -> None:
        self.provider, self.key = provider, key
        self.now = moment("2026-11-28T10:00")
        self.source = self.account("openai")

    def account(self, name: str) -> AccountSource:
        auth = Auth(credentials_file=str(self.key))
        return AccountSource(PROVIDERS[name], self.provider.url, auth, clock=lambda: self.now, wall=lambda: self.now)

    async def read(self, timeout_s: float = SLOW_S) -> dict[tuple[str, ...], float]:
        """Return the samples of a read: (name without prefix, label values in the order of names) -> value."""
        return samples(await self.source.read(timeout_s))


def samples(body: bytes) -> dict[tuple[str, ...], float]:
    parsed = parse(body)
    return {
        (s.name.removeprefix("llm_account_"), *(v for _, v in s.labels)): float(x)
        for s, x in zip(parsed.series, parsed.values, strict=True)
    }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    key = tmp_path / "key"
    key.write_text(KEY)
    async with FakeAccounts() as provider:
        made = World(provider, key)
        yield made
        await made.source.close()


@asynccontextmanager
async def closing(source: AccountSource) -> AsyncIterator[AccountSource]:
    try:
        yield source
    finally:
        await source.close()


async def test_openais_usage_and_costs_are_summed_over_the_month_and_the_day(world: World) -> None:
    world.provider.days = {
        COMPLETIONS: {
            "2026-10-31": [usage("gpt-x", 9, 9, 9)],
            "2026-11-01": [usage("gpt-x", 1000, 500, 5), usage("gpt-y", 10, 1, 1)],
            "2026-11-28": [usage("gpt-x", 100, 50, 2), usage("gpt-x", 7, 0, 1, project=None)],
        },
        EMBEDDINGS: {"2026-11-28": [{"model": "embed-1", "input_tokens": 70, "num_model_requests": 7}]},
        COSTS: {
            "2026-11-01": [cost("gpt-x, input", 0.5), cost("gpt-x, output", 1.25)],
            "2026-11-28": [cost("gpt-x, input", 0.25), cost("web search tool calls", 2.0), cost(None, 0.125)],
        },
    }

    found = await world.read()

    # The order of label names: project, served_model, type, window. An empty label is none.
    assert found == {
        ("tokens", "proj_1", "gpt-x", "input", "month"): 1100,
        ("tokens", "proj_1", "gpt-x", "output", "month"): 550,
        ("tokens", "proj_1", "gpt-x", "input_cached", "month"): 550,
        ("tokens", "proj_1", "gpt-x", "input", "day"): 100,
        ("tokens", "proj_1", "gpt-x", "output", "day"): 50,
        ("tokens", "proj_1", "gpt-x", "input_cached", "day"): 50,
        ("tokens", "proj_1", "gpt-y", "input", "month"): 10,
        ("tokens", "proj_1", "gpt-y", "output", "month"): 1,
        ("tokens", "proj_1", "gpt-y", "input_cached", "month"): 5,
        ("tokens", "gpt-x", "input", "month"): 7,
        ("tokens", "gpt-x", "output", "month"): 0,
        ("tokens", "gpt-x", "input_cached", "month"): 3,
        ("tokens", "gpt-x", "input", "day"): 7,
        ("tokens", "gpt-x", "output", "day"): 0,
        ("tokens", "gpt-x", "input_cached", "day"): 3,
        ("tokens", "embed-1", "input", "month"): 70,
        ("tokens", "embed-1", "input", "day"): 70,
        ("requests", "proj_1", "gpt-x", "month"): 7,
        ("requests", "proj_1", "gpt-x", "day"): 2,
        ("requests", "proj_1", "gpt-y", "month"): 1,
        ("requests", "gpt-x", "month"): 1,
        ("requests", "gpt-x", "day"): 1,
        ("requests", "embed-1", "month"): 7,
        ("requests", "embed-1", "day"): 7,
        ("cost_usd", "proj_1", "gpt-x", "month"): 2.0,
        ("cost_usd", "proj_1", "gpt-x", "day"): 0.25,
        ("cost_usd", "proj_1", "web search tool calls", "month"): 2.0,
        ("cost_usd", "proj_1", "web search tool calls", "day"): 2.0,
        ("cost_usd", "proj_1", "month"): 0.125,
        ("cost_usd", "proj_1", "day"): 0.125,
        ("read_timestamp_seconds",): world.now,
    }
    assert world.provider.asked == CYCLE
    assert ("start_time", str(int(moment("2026-11-01")))) in world.provider.queries[0]
    assert ("group_by", "model") in world.provider.queries[0]
    assert ("group_by", "project_id") in world.provider.queries[0]
    assert ("group_by", "line_item") in world.provider.queries[2]


async def test_anthropics_reports_give_cents_and_parts_of_the_input(world: World) -> None:
    tokens = {
        "uncached_input_tokens": 100,
        "cache_creation": {"ephemeral_1h_input_tokens": 20, "ephemeral_5m_input_tokens": 5},
        "cache_read_input_tokens": 75,
        "output_tokens": 40,
        "server_tool_use": {"web_search_requests": 3},
    }
    priced = {"currency": "USD", "workspace_id": None}
    world.provider.days = {
        MESSAGES: {"2026-11-28": [{"model": "claude-x", "workspace_id": "wrk_1", **tokens}]},
        COST_REPORT: {
            "2026-11-02": [
                {**priced, "amount": "123.45", "model": "claude-x", "description": "Claude X Usage - Output"},
                {**priced, "amount": "1000", "model": None, "description": "Web Search Usage"},
            ]
        },
    }
    async with closing(world.account("anthropic")) as source:
        found = samples(await source.read(SLOW_S))

    expected: dict[tuple[str, ...], float] = {
        **{("tokens", "wrk_1", "claude-x", "input", window): 200 for window in ("month", "day")},
        **{("tokens", "wrk_1", "claude-x", "output", window): 40 for window in ("month", "day")},
        **{("tokens", "wrk_1", "claude-x", "input_cached", window): 75 for window in ("month", "day")},
        ("cost_usd", "claude-x", "month"): 1.2345,
        ("cost_usd", "Web Search Usage", "month"): 10.0,
        ("read_timestamp_seconds",): world.now,
    }
    assert found == expected
    assert ("starting_at", "2026-11-01T00:00:00Z") in world.provider.queries[0]
    assert ("group_by[]", "workspace_id") in world.provider.queries[1]


async def test_pages_are_followed_to_the_end(world: World) -> None:
    world.provider.page_days = 2
    world.provider.days = {COSTS: {f"2026-11-{day:02}": [cost("gpt-x, input", 1.0)] for day in range(1, 8)}}

    found = await world.read()

    assert found["cost_usd", "proj_1", "gpt-x", "month"] == 7.0
    assert world.provider.asked == [COMPLETIONS, EMBEDDINGS, COSTS, COSTS, COSTS, COSTS]


async def test_the_account_is_asked_again_after_five_minutes_and_on_a_new_day(world: World) -> None:
    world.provider.days = {COSTS: {"2026-11-28": [cost("gpt-x, input", 1.0)]}}
    await world.read()
    world.provider.days = {COSTS: {"2026-11-28": [cost("gpt-x, input", 3.0)]}}

    world.now += POLL_S - 1
    assert (await world.read())["cost_usd", "proj_1", "gpt-x", "day"] == 1.0
    assert world.provider.asked == CYCLE

    world.now += 1
    assert (await world.read())["cost_usd", "proj_1", "gpt-x", "day"] == 3.0
    assert world.provider.asked == CYCLE * 2

    world.now = moment("2026-11-28T23:59:50")
    await world.read()
    world.now = moment("2026-12-01T00:00:05")
    found = await world.read()
    assert not [key for key in found if key[0] == "cost_usd"], "the new month has no costs yet"
    assert ("start_time", str(int(moment("2026-12-01")))) in world.provider.queries[-1]


async def test_a_wrong_key_is_told_with_the_cure_and_without_the_key(world: World) -> None:
    world.key.write_text("sk-proj-secret")
    with pytest.raises(UnexpectedStatus) as told:
        await world.read()
    assert str(told.value) == (
        "/v1/organization/usage/completions: status 401: the key may not read usage and costs; it must be an admin key "
        "of the organization (sk-admin-…), which only its owners can create"
    )
    assert "secret" not in str(told.value)

    world.key.write_text(KEY)
    world.now += RETRY_S - 1
    with pytest.raises(UnexpectedStatus, match="status 401"):
        await world.read()
    assert world.provider.asked == [COMPLETIONS], "not asked again before the next try is due"
    world.now += 1
    assert ("read_timestamp_seconds",) in await world.read()


async def test_numbers_end_with_the_first_failure_and_come_back(world: World) -> None:
    await world.read()
    world.provider.failures = {COSTS: 500}
    world.now += POLL_S
    with pytest.raises(UnexpectedStatus, match="/v1/organization/costs: status 500"):
        await world.read()
    world.provider.failures = {}
    world.now += RETRY_S
    assert ("read_timestamp_seconds",) in await world.read()
    assert world.provider.asked == CYCLE * 3


@pytest.mark.parametrize(
    ("header", "wait_s"), [("7", 7.0), ("", RETRY_S), ("soon", RETRY_S), ("0", 1.0), ("999999", MAX_RETRY_S)]
)
async def test_a_provider_that_limits_requests_is_left_alone_as_long_as_it_says(
    world: World, header: str, wait_s: float
) -> None:
    async def limiting(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": header} if header else {})

    world.provider.failures = {COMPLETIONS: limiting}
    with pytest.raises(UnexpectedStatus, match=f"the next try is in {wait_s:.0f} s"):
        await world.read()
    world.now += wait_s - 0.5
    with pytest.raises(UnexpectedStatus):
        await world.read()
    assert len(world.provider.asked) == 1
    world.now += 0.5
    with pytest.raises(UnexpectedStatus):
        await world.read()
    assert len(world.provider.asked) == 2


async def test_a_deadline_keeps_what_was_read_and_the_next_scrape_goes_on(world: World) -> None:
    async def hanging(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    world.provider.days = {COMPLETIONS: {"2026-11-28": [usage("gpt-x", 10, 5, 1)]}}
    world.provider.failures = {EMBEDDINGS: hanging}
    with pytest.raises(ScrapeTimeout):
        await world.read(timeout_s=3.0)  # long enough for the first of them
    world.provider.failures = {}
    found = await world.read()

    assert found["requests", "proj_1", "gpt-x", "day"] == 1
    assert world.provider.asked == [COMPLETIONS, EMBEDDINGS, EMBEDDINGS, COSTS]


async def raw(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")


ONE_DAY = '{"object": "page", "data": [{"start_time": 1, "results": [%s]}]}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no page of a report"),
        ("{}", "there is no list of days"),
        ('{"data": [1]}', "there is no list of days"),
        ('{"data": [{"start_time": 1}]}', "a bucket has no list of results"),
        ('{"data": [{"start_time": true, "results": []}]}', "start_time is not a number"),
        (ONE_DAY % '{"amount": 3}', "a cost has no amount"),
        (ONE_DAY % '{"amount": {"value": "3"}}', "value is not a number"),
        (ONE_DAY % '{"amount": {"value": Infinity}}', "value is not a number"),
        (ONE_DAY % '{"amount": {"value": 3, "currency": "eur"}}', "not in US dollars"),
        (ONE_DAY % '{"amount": {"value": 3}, "line_item": 7}', "line_item is not text"),
        (ONE_DAY.replace("1", "9" * 4000) % "", "no page of a report"),
        ('{"data": [], "has_more": true, "next_page": 3}', "the pages do not end"),
        ('{"data": [], "has_more": true, "next_page": "same"}', "the pages do not end"),
    ],
)
async def test_other_answers_are_malformed(world: World, text: str, message: str) -> None:
    world.provider.failures = {COSTS: lambda request: raw(text)}
    with pytest.raises(ExpositionError, match=message):
        await world.read()


@pytest.mark.parametrize("amount", ["", "many", "NaN", "Infinity", "1e999999999"])
async def test_an_amount_of_anthropic_that_is_no_number_is_malformed(world: World, amount: str) -> None:
    world.provider.days = {COST_REPORT: {"2026-11-28": [{"amount": amount, "currency": "USD"}]}}
    async with closing(world.account("anthropic")) as source:
        with pytest.raises(ExpositionError, match="amount of a cost is not a number"):
            await source.read(SLOW_S)


async def test_pages_without_end_are_given_up(world: World) -> None:
    turn = iter(range(10_000))
    world.provider.failures = {
        COSTS: lambda request: raw(f'{{"data": [], "has_more": true, "next_page": "p{next(turn)}"}}')
    }
    with pytest.raises(ExpositionError, match="the pages do not end"):
        await world.read()
    assert world.provider.asked.count(COSTS) == 100


async def test_an_account_with_too_many_projects_is_refused(world: World) -> None:
    world.provider.days = {COSTS: {"2026-11-28": [cost("gpt-x, input", 1.0, f"proj_{n}") for n in range(3000)]}}
    with pytest.raises(ExpositionError, match="6000 sums of models and projects; 5000 are read at most"):
        await world.read()


async def test_a_flood_and_a_dead_provider_are_told(world: World) -> None:
    world.provider.failures = {COMPLETIONS: lambda request: raw(" " * 5000)}
    key = Auth(credentials_file=str(world.key))
    async with closing(AccountSource(PROVIDERS["openai"], world.provider.url, key, max_body_bytes=1000)) as small:
        with pytest.raises(ScrapeError, match="more than the 1000 bytes allowed"):
            await small.read(SLOW_S)

    dead = AccountSource(PROVIDERS["openai"], "http://127.0.0.1:9", Auth(credentials_file=str(world.key)))
    async with closing(dead):
        with pytest.raises(Unreachable):
            await dead.read(SLOW_S)


async def test_a_compressed_report_is_read_and_one_that_grows_beyond_the_limit_is_refused(world: World) -> None:
    async def compressed(text: str) -> web.Response:
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(body=gzip.compress(text.encode()), headers=headers)

    page = ONE_DAY.replace("1", f"{moment('2026-11-28'):.0f}") % '{"amount": {"value": 2}}'
    world.provider.failures = {COSTS: lambda request: compressed(page)}
    assert (await world.read())["cost_usd", "day"] == 2.0

    world.provider.failures = {COSTS: lambda request: compressed(" " * 50_000_000)}
    world.now += POLL_S
    with pytest.raises(ScrapeError, match="more than the 16777216 bytes allowed"):
        await world.read()


async def test_a_missing_key_is_told_before_anything_is_sent(world: World) -> None:
    world.key.unlink()
    with pytest.raises(ScrapeError, match="cannot read the credentials file"):
        await world.read()
    assert world.provider.asked == []


async def test_the_numbers_are_canonical_and_models_have_the_fleets_names(world: World) -> None:
    world.provider.days = {
        COMPLETIONS: {"2026-11-28": [usage("gpt-x", 10, 5, 1)]},
        COSTS: {"2026-11-28": [cost("gpt-x, input", 0.5)]},
    }
    parsed = parse(await world.source.read(SLOW_S))
    target = Target("openai", "https://api.openai.com", "openai", "api.openai.com", models=labels_of({"gpt-x": "chat"}))
    catalogue = load_catalogue()
    layout = canonical_layout(parsed.series, parsed.metadata, target, catalogue)

    assert missing(layout, catalogue, "openai") == ()
    costs = [dict(s.labels) for s in layout.raw if s.name == "llm_account_cost_usd"]
    assert costs[0] == {
        "engine": "openai",
        "instance": "api.openai.com",
        "job": "openai",
        "model": "chat",
        "node": "api.openai.com",
        "project": "proj_1",
        "served_model": "gpt-x",
        "source": "account",
        "window": costs[0]["window"],
    }


async def test_an_account_without_usage_is_not_blind(world: World) -> None:
    parsed = parse(await world.source.read(SLOW_S))
    catalogue = load_catalogue()
    target = Target("openai", "https://api.openai.com", "openai", "api.openai.com")
    assert missing(canonical_layout(parsed.series, parsed.metadata, target, catalogue), catalogue, "openai") == ()
