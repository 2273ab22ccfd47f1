"""Rate limits of Azure's deployments and of Bedrock's models, what is left of them, and clouds that refuse."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.meters import AwsPlace, aws_meter
from collectors.clouds.azure.meter import AzureMeter
from collectors.clouds.azure.token import Application
from collectors.clouds.metered.periods import PERIOD_S
from collectors.clouds.metered.source import MeteredSource
from collectors.exposition.parser import parse
from collectors.target import Auth, Target
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_aws import KEY_ID, QUOTA, REGION, SECRET, FakeAws, Series
from tests.fakes.cloud_azure import CLIENT, RESOURCE, TENANT, FakeAzure
from tests.fakes.cloud_azure import SECRET as AZURE_SECRET

LIMIT, LEFT = "llm_ratelimit_limit", "llm_ratelimit_remaining"
END = "llm_account_period_end_timestamp_seconds"
AT = moment("2026-11-28T09:52")
MODEL, TOKENS, CALLS = "eu.amazon.nova-lite-v1:0", "L-254CACF4", "L-11111111"


class Read:
    """The reader of one cloud, and the time on all clocks."""

    def __init__(self) -> None:
        self.now = moment("2026-11-28T10:00")
        self.wall_ahead_s = 0.0
        self.source: MeteredSource

    def wall(self) -> float:
        return self.now + self.wall_ahead_s

    async def limits(self) -> dict[tuple[str, ...], float]:
        """Return the limits and what is left: (name, type, model) -> value."""
        parsed = parse(await self.source.read(30.0))
        return {
            (s.name, dict(s.labels)["type"], dict(s.labels)["served_model"]): float(x)
            for s, x in zip(parsed.series, parsed.values, strict=True)
            if s.name in (LIMIT, LEFT)
        }

    async def left_out(self) -> str:
        """Return why a scrape that has all else shows no limits."""
        found = {series.name for series in parse(await self.source.read(30.0)).series}
        assert (found & {LIMIT, LEFT}, END in found) == (set(), True)
        return self.source.remark.rpartition("the rate limits are left out: ")[2]


def deployment(name: str, *limits: tuple[str, float, float]) -> dict[str, object]:
    rates = [{"key": key, "renewalPeriod": period, "count": count} for key, period, count in limits]
    return {"name": name, "properties": {"rateLimits": rates}}


@pytest.fixture
async def azure(tmp_path: Path) -> AsyncIterator[tuple[FakeAzure, Read]]:
    (tmp_path / "secret").write_text(AZURE_SECRET)
    async with FakeAzure() as fake:
        read = Read()
        fake.deployments = [
            deployment("chat", ("request", 10, 10), ("token", 60, 10_000), ("token", 60, 20_000), ("other", 1, 1))
        ]
        auth = Auth(credentials_file=str(tmp_path / "secret"))
        application = Application(TENANT, CLIENT, fake.url)
        meter = AzureMeter(fake.url, RESOURCE, application, auth, quotas=True, wall=read.wall)
        read.source = MeteredSource(meter, clock=lambda: read.now, wall=read.wall)
        yield fake, read
        await read.source.close()


async def test_a_deployments_limits_and_what_the_last_period_leaves(azure: tuple[FakeAzure, Read]) -> None:
    fake, read = azure
    fake.deployments.append({"name": "provisioned", "properties": {}})
    fake.count("AzureOpenAIRequests", "chat", AT, 50, "200")
    fake.count("AzureOpenAIRequests", "chat", AT, 500, "429")  # what is refused takes nothing away
    fake.count("ProcessedPromptTokens", "chat", AT, 15_000)
    fake.count("GeneratedTokens", "chat", AT, 5_000)
    fake.count("ProcessedPromptTokens", "chat", AT - 600, 900_000)
    assert await read.limits() == {
        (LIMIT, "requests", "chat"): 60,
        (LIMIT, "tokens", "chat"): 10_000,
        (LEFT, "requests", "chat"): 50,
        (LEFT, "tokens", "chat"): 6_000,
    }
    fake.count("ProcessedPromptTokens", "chat", AT + 300, 90_000)
    read.now += 300
    assert await read.limits() == {
        (LIMIT, "requests", "chat"): 60,
        (LIMIT, "tokens", "chat"): 10_000,
        (LEFT, "requests", "chat"): 60,
        (LEFT, "tokens", "chat"): 0,
    }


async def test_the_limits_are_canonical(azure: tuple[FakeAzure, Read]) -> None:
    fake, read = azure
    parsed = parse(await read.source.read(30.0))
    target = Target("azure-openai", fake.url, "azure-openai", "azure")
    layout = canonical_layout(parsed.series, parsed.metadata, target, load_catalogue())
    labels = [dict(s.labels) for s in layout.raw if s.name == LIMIT]
    assert [(each["model"], each["type"]) for each in labels] == [("chat", "requests"), ("chat", "tokens")]


async def test_the_last_period_is_known_at_a_whole_hour_too(azure: tuple[FakeAzure, Read]) -> None:
    fake, read = azure
    fake.count("ProcessedPromptTokens", "chat", AT, 500_000)
    fake.count("ProcessedPromptTokens", "chat", AT + 300, 5_000)
    read.now = moment("2026-11-28T10:03")
    assert (await read.limits())[LEFT, "tokens", "chat"] == 9_000


async def test_limits_are_read_once_an_hour_and_hold_for_a_day(azure: tuple[FakeAzure, Read]) -> None:
    fake, read = azure
    for _ in range(12):
        await read.limits()
        read.now += 300
    assert fake.asked.count("deployments") == 1
    fake.failures = {"deployments": 500}
    read.now += 22 * 3600
    assert (await read.limits())[LIMIT, "tokens", "chat"] == 10_000
    assert read.source.remark == "the rate limits are those of an earlier reading: deployments: status 500"
    read.now += 3600
    assert await read.left_out() == "deployments: status 500"


async def test_a_clock_that_was_ten_days_ahead_does_not_put_the_limits_off(azure: tuple[FakeAzure, Read]) -> None:
    fake, read = azure
    read.wall_ahead_s = 10 * 86_400.0
    await read.limits()
    fake.failures = {"deployments": 500}
    read.wall_ahead_s = 0.0
    read.now += PERIOD_S
    await read.limits()
    assert fake.asked.count("deployments") == 2
    assert read.source.remark == "the rate limits are those of an earlier reading: deployments: status 500"
    read.now += 24 * 3600
    assert await read.left_out() == "deployments: status 500"


RATED = '{"value": [{"name": "a", "properties": {"rateLimits": [{"key": "token", "count": %s, "renewalPeriod": %d}]}}]}'


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (403, "give it the role Monitoring Reader on azure.resource, or remove azure.quotas"),
        (429, "too many requests"),
        ("[]", "no JSON object"),
        ("{}", "no list of deployments"),
        ('{"value": [{"name": "a"}]}', "no list of deployments"),
        (RATED % ("NaN", 1), "a limit is no number"),
        (RATED % ("1", 0), "a limit has no period"),
        ('{"value": [], "nextLink": "http://127.0.0.2:1/"}', "the next page is on another host"),
        ('{"value": [], "nextLink": "file:///etc"}', "no list of deployments"),
    ],
)
async def test_an_azure_that_refuses_or_answers_otherwise(
    azure: tuple[FakeAzure, Read], answer: int | str, message: str
) -> None:
    fake, read = azure

    async def answering(request: web.Request) -> web.Response:
        return web.Response(text=str(answer))

    fake.failures = {"deployments": answer if isinstance(answer, int) else answering}
    assert message in await read.left_out()


@pytest.fixture
async def bedrock(tmp_path: Path) -> AsyncIterator[tuple[FakeAws, Read]]:
    keys = tmp_path / "credentials"
    keys.write_text(f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
    async with FakeAws() as fake:
        read = Read()
        fake.now = read.now
        fake.quotas = {
            TOKENS: ("Cross-region model inference tokens per minute for Amazon Nova Lite", 20_000.0),
            CALLS: ("Cross-region model inference requests per minute for Amazon Nova Lite", 100.0),
        }
        place = AwsPlace(REGION, KeyPlace(str(keys)), quotas=((MODEL, (TOKENS, CALLS)),))
        meter = aws_meter("bedrock", fake.url, place, wall=lambda: read.now)
        read.source = MeteredSource(meter, clock=lambda: read.now, wall=lambda: read.now)
        yield fake, read
        await read.source.close()


def series(metric: str) -> Series:
    return Series("AWS/Bedrock", metric, f"ModelId={MODEL}")


async def test_amazons_own_count_is_used_against_its_quota(bedrock: tuple[FakeAws, Read]) -> None:
    fake, read = bedrock
    fake.count(series("Invocations"), AT, 50, 50)
    fake.count(series("InputTokenCount"), AT, 1_000, 50)
    assert (await read.limits())[LEFT, "tokens", MODEL] == 20_000 - 200
    fake.count(series("InputTokenCount"), AT + 300, 1_000, 50)
    fake.count(series("EstimatedTPMQuotaUsage"), AT + 300, 60_000, 50)
    read.now = fake.now = read.now + 300
    assert await read.limits() == {
        (LIMIT, "tokens", MODEL): 20_000,
        (LIMIT, "requests", MODEL): 100,
        (LEFT, "tokens", MODEL): 8_000,
        (LEFT, "requests", MODEL): 100,
    }
    assert not [s for s in parse(await read.source.read(30.0)).series if "quota" in s.name]


async def test_a_wrong_code_and_a_missing_right_are_told(bedrock: tuple[FakeAws, Read]) -> None:
    fake, read = bedrock
    fake.quotas[CALLS] = ("Batch inference jobs", 20.0)
    assert "L-11111111 is no quota of tokens or requests per minute; correct" in await read.left_out()
    del fake.quotas[CALLS]
    read.now = fake.now = read.now + PERIOD_S
    assert re.search(r"NoSuchResource: .*correct the codes of aws.quotas", await read.left_out())
    fake.failures[QUOTA] = "AccessDeniedException"
    read.now = fake.now = read.now + PERIOD_S
    assert "allow its user or role the IAM action servicequotas:GetServiceQuota" in await read.left_out()


@pytest.mark.parametrize("value", [None, "many", -1.0, True])
async def test_a_quota_that_is_no_number_is_told(bedrock: tuple[FakeAws, Read], value: object) -> None:
    fake, read = bedrock
    fake.quotas[TOKENS] = ("tokens per minute", value)  # type: ignore[assignment]
    assert await read.left_out() == "GetServiceQuota: a limit is no number"
