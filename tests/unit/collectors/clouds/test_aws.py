"""Bedrock and SageMaker read from CloudWatch: whole periods once, restarts, and an AWS that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collectors.catalogue.mapping import canonical_layout, missing
from collectors.catalogue.model import load_catalogue
from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.meters import AwsPlace, aws_meter
from collectors.clouds.metered.source import MeteredSource
from collectors.clouds.waiting import RETRY_S
from collectors.errors import ExpositionError, ScrapeError, ScrapeTimeout, UnexpectedStatus, Unreachable
from collectors.exposition.parser import parse
from collectors.target import Target
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_aws import KEY_ID, REGION, SECRET, FakeAws, Series, refusal

MODEL = "anthropic.claude-x"
LISTED, DATA, ENDPOINTS = "ListMetrics", "GetMetricData", "ListEndpoints"


def bedrock(metric: str, model: str = MODEL) -> Series:
    return Series("AWS/Bedrock", metric, f"ModelId={model}")


def variant(metric: str, namespace: str = "AWS/SageMaker") -> Series:
    return Series(namespace, metric, "EndpointName=chat,VariantName=blue")


class World:
    """An account at AWS, its reader, and the time on all clocks."""

    def __init__(self, aws: FakeAws, keys: Path) -> None:
        self.aws, self.keys = aws, keys
        self.opened: list[MeteredSource] = []
        self.at("2026-11-28T10:00")
        self.source = self.reader()

    def at(self, text: str) -> None:
        self.now = self.aws.now = moment(text)

    def reader(self, engine: str = "bedrock", region: str = REGION, **options: Any) -> MeteredSource:
        place = AwsPlace(region, KeyPlace(str(self.keys)))
        meter = aws_meter(engine, options.pop("url", self.aws.url), place, wall=lambda: self.now, **options)
        self.opened.append(MeteredSource(meter, clock=lambda: self.now, wall=lambda: self.now))
        return self.opened[-1]

    async def read(self, source: MeteredSource | None = None, timeout_s: float = 30.0) -> dict[tuple[str, ...], float]:
        """Return the samples: (name, label values in the order of names) -> value."""
        parsed = parse(await (source or self.source).read(timeout_s))
        return {
            (s.name, *(value for _, value in s.labels)): float(x)
            for s, x in zip(parsed.series, parsed.values, strict=True)
        }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    keys = tmp_path / "credentials"
    keys.write_text(f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
    async with FakeAws() as aws:
        made = World(aws, keys)
        yield made
        for source in made.opened:
            await source.close()


SUCCESSES = ("llm_requests_total", "success", MODEL)


async def test_bedrocks_numbers_are_counters_of_the_month_up_to_the_last_whole_period(world: World) -> None:
    for at in ("2026-10-31T23:59", "2026-11-02T08:00", "2026-11-28T09:51", "2026-11-28T09:55"):
        for metric, total in (("Invocations", 4), ("InputTokenCount", 400), ("OutputTokenCount", 80)):
            world.aws.count(bedrock(metric), moment(at), total, 4)
        world.aws.count(bedrock("InvocationLatency"), moment(at), 6000, 4)
        world.aws.count(bedrock("TimeToFirstToken"), moment(at), 500, 2)
        for metric in ("InvocationClientErrors", "InvocationServerErrors", "InvocationThrottles"):
            world.aws.count(bedrock(metric), moment(at), 1)
    world.aws.count(Series("AWS/Bedrock", "Invocations", f"ImageSize=1,ModelId={MODEL}"), moment("2026-11-28T09:00"), 9)

    assert await world.read() == {
        SUCCESSES: 8,
        ("llm_requests_total", "invalid", "client_error", MODEL): 2,
        ("llm_requests_total", "error", "server_error", MODEL): 2,
        ("llm_requests_total", "rejected", "throttled", MODEL): 2,
        ("llm_tokens_total", MODEL, "input"): 800,
        ("llm_tokens_total", MODEL, "output"): 160,
        ("llm_request_duration_seconds_sum", MODEL): 12.0,
        ("llm_request_duration_seconds_count", MODEL): 8,
        ("llm_time_to_first_token_seconds_sum", MODEL): 1.0,
        ("llm_time_to_first_token_seconds_count", MODEL): 4,
        ("llm_account_requests", MODEL, "day"): 7,
        ("llm_account_requests", MODEL, "month"): 14,
        ("llm_account_tokens", MODEL, "input", "day"): 400,
        ("llm_account_tokens", MODEL, "input", "month"): 800,
        ("llm_account_tokens", MODEL, "output", "day"): 80,
        ("llm_account_tokens", MODEL, "output", "month"): 160,
        ("llm_account_read_timestamp_seconds",): world.now,
        ("llm_account_period_end_timestamp_seconds",): moment("2026-11-28T09:55"),
    }


async def test_each_period_is_read_once_when_it_is_complete(world: World) -> None:
    invocations = bedrock("Invocations")
    world.aws.count(invocations, moment("2026-11-28T09:50"), 1)
    world.aws.count(invocations, moment("2026-11-28T09:57"), 10)
    assert (await world.read())[SUCCESSES] == 1
    assert world.aws.asked == [LISTED, DATA, DATA]

    world.at("2026-11-28T10:02")
    world.now += 59
    assert (await world.read())[SUCCESSES] == 1
    assert len(world.aws.asked) == 3, "the period until 10:00 is not complete"

    world.at("2026-11-28T10:03")
    world.aws.count(invocations, moment("2026-11-28T09:50"), 5)
    assert (await world.read())[SUCCESSES] == 11, "a number that is revised after its period was read stays as it was"
    assert world.aws.asked[3:] == [LISTED, DATA]
    last = world.aws.bodies[-1]
    assert (last["StartTime"], last["EndTime"]) == (moment("2026-11-28T09:55"), moment("2026-11-28T10:00"))


async def test_a_restart_finds_the_counters_again_and_an_outage_loses_nothing(world: World) -> None:
    invocations = bedrock("Invocations")
    world.aws.count(invocations, moment("2026-11-03T00:00"), 100)
    world.aws.count(invocations, moment("2026-11-28T09:50"), 1)
    before = await world.read()
    assert await world.read(world.reader()) == before

    world.aws.failures = {DATA: "InternalServiceFault"}
    world.at("2026-11-28T10:03")
    with pytest.raises(UnexpectedStatus, match="GetMetricData: status 400 InternalService"):
        await world.read()
    world.aws.count(invocations, moment("2026-11-28T10:30"), 7)
    world.aws.failures = {}
    world.at("2026-11-28T12:00")
    assert (await world.read())[SUCCESSES] == 108


async def test_counters_begin_anew_with_the_month(world: World) -> None:
    world.at("2026-11-30T23:59")
    world.aws.count(bedrock("Invocations"), moment("2026-11-05T00:00"), 50)
    world.aws.count(bedrock("Invocations"), moment("2026-11-30T23:58"), 5)
    world.aws.count(bedrock("Invocations"), moment("2026-12-01T00:01"), 3)
    assert (await world.read())[SUCCESSES] == 50
    world.at("2026-12-01T00:03")
    assert (await world.read())[SUCCESSES] == 55, "the last period of November"
    world.at("2026-12-01T00:08")
    assert (await world.read())[SUCCESSES] == 3
    assert (await world.read(world.reader()))[SUCCESSES] == 3


async def test_a_model_that_appears_late_is_counted_from_its_first_request(world: World) -> None:
    await world.read()
    world.aws.count(bedrock("Invocations", "new"), moment("2026-11-28T09:30"), 2)
    world.at("2026-11-28T10:08")
    assert (await world.read())["llm_requests_total", "success", "new"] == 2


async def test_sagemakers_variants_have_states_and_gpus_of_the_last_period(world: World) -> None:
    at, source = moment("2026-11-28T09:50"), world.reader("sagemaker")
    world.aws.count(variant("Invocations"), at, 10)
    world.aws.count(variant("Invocation4XXErrors"), at, 2)
    world.aws.count(variant("Invocation5XXErrors"), at, 1)
    world.aws.count(variant("ModelLatency"), at, 8_000_000, 10)
    world.aws.count(variant("OverheadLatency"), at, 2_000_000, 10)
    world.aws.count(variant("GPUUtilization", "/aws/sagemaker/Endpoints"), at, 360, 2)
    world.aws.count(variant("GPUMemoryUtilization", "/aws/sagemaker/Endpoints"), at, 100, 2)
    world.aws.endpoints = {"chat": "InService", "embed": "Failed"}

    found = await world.read(source)
    assert found["llm_requests_total", "success", "chat", "blue"] == 7
    assert found["llm_requests_total", "invalid", "4xx", "chat", "blue"] == 2
    assert found["llm_requests_total", "error", "5xx", "chat", "blue"] == 1
    assert found["llm_request_duration_seconds_sum", "chat", "blue"] == 10.0
    assert found["llm_request_duration_seconds_count", "chat", "blue"] == 10
    assert found["llm_account_gpu_utilization_ratio", "chat", "blue"] == pytest.approx(1.8)
    assert found["llm_account_gpu_memory_utilization_ratio", "chat", "blue"] == pytest.approx(0.5)
    assert {key[1:]: value for key, value in found.items() if key[0] == "llm_model_state" and value} == {
        ("chat", "InService"): 1,
        ("embed", "Failed"): 1,
    }

    world.at("2026-11-28T10:08")
    later = await world.read(source)
    assert later["llm_requests_total", "success", "chat", "blue"] == 7
    assert not [key for key in later if "gpu" in key[0]], "no gauge of an earlier period"


async def test_a_counter_does_not_fall_when_an_error_is_told_one_period_late(world: World) -> None:
    source = world.reader("sagemaker")
    world.aws.count(variant("Invocations"), moment("2026-11-28T09:50"), 10)
    world.aws.count(variant("Invocation5XXErrors"), moment("2026-11-28T09:58"), 4)
    success = ("llm_requests_total", "success", "chat", "blue")
    assert (await world.read(source))[success] == 10
    world.at("2026-11-28T10:03")
    found = await world.read(source)
    assert (found[success], found["llm_requests_total", "error", "5xx", "chat", "blue"]) == (10, 4)


async def test_pages_are_followed_to_the_end(world: World) -> None:
    world.aws.page = 2
    for minute in range(50, 55):
        for model in ("a", "b", "c"):
            world.aws.count(bedrock("Invocations", model), moment(f"2026-11-28T09:{minute}"), 1)
            world.aws.count(bedrock("Invocations", model), moment(f"2026-11-28T0{minute - 50}:00"), 1)
    found = await world.read()
    assert {key[2]: value for key, value in found.items() if key[0] == "llm_requests_total"} == dict.fromkeys("abc", 10)


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (
            "AccessDeniedException",
            "AccessDenied: the key may not do this; allow its user or role the IAM action cloudwatch:GetMetricData",
        ),
        ("AccessDenied", "the IAM action cloudwatch:GetMetricData"),
        ("ExpiredTokenException", "ExpiredToken: the temporary key in profile default of .* has expired; renew it"),
        ("RequestExpired", "this host's clock is wrong; set it|this host's clock is .* AWS's; set it"),
        ("OptInRequired", "the account has not enabled the region eu-west-1"),
        ("InvalidParameterValue", "GetMetricData: status 400 InvalidParameterValue$"),
    ],
)
async def test_a_refusal_names_the_cure_and_no_secret(world: World, code: str, cure: str) -> None:
    world.aws.count(bedrock("Invocations"), moment("2026-11-28T09:50"), 1)
    world.aws.token = "session-secret"
    text = world.keys.read_text()
    world.keys.write_text(text + "aws_session_token = session-secret\n")
    world.aws.failures = {DATA: code}
    with pytest.raises(UnexpectedStatus, match=cure) as told:
        await world.read()
    assert "secret" not in str(told.value)
    assert SECRET not in str(told.value)

    world.aws.failures = {}
    world.now += RETRY_S - 1
    with pytest.raises(UnexpectedStatus):
        await world.read()
    world.now = world.aws.now = world.now + 1
    assert (await world.read())[SUCCESSES] == 1


async def test_sagemakers_own_action_is_named(world: World) -> None:
    world.aws.failures = {ENDPOINTS: "AccessDeniedException"}
    with pytest.raises(UnexpectedStatus, match="the IAM action sagemaker:ListEndpoints"):
        await world.read(world.reader("sagemaker"))


async def test_a_wrong_clock_region_key_and_secret_are_told_apart(world: World) -> None:
    world.now -= 1000
    with pytest.raises(UnexpectedStatus, match="this host's clock is 1000 s behind AWS's; set it"):
        await world.read()
    world.now += 1000
    with pytest.raises(UnexpectedStatus, match=r"us-east-1 is not the region of http://127.* change aws.region"):
        await world.read(world.reader(region="us-east-1"))
    world.aws.token = "needed"
    with pytest.raises(UnexpectedStatus, match=r"AWS does not know the key id .* or a session token missing"):
        await world.read(world.reader())
    world.aws.token = ""
    world.keys.write_text(world.keys.read_text().replace(SECRET, "other"))
    with pytest.raises(UnexpectedStatus, match=r"the secret in profile default of .* does not belong to its key id"):
        await world.read(world.reader())


async def test_throttling_is_waited_out_as_long_as_aws_says(world: World) -> None:
    async def throttling(asked: dict[str, Any]) -> web.Response:
        return refusal("ThrottlingException", "Rate exceeded", **{"Retry-After": "7"})

    world.aws.failures = {LISTED: throttling}
    with pytest.raises(UnexpectedStatus, match="too many requests; the next try is in 7 s"):
        await world.read()
    world.aws.failures = {}
    world.now += 6
    with pytest.raises(UnexpectedStatus):
        await world.read()
    assert world.aws.asked == [LISTED]
    world.now += 1
    await world.read()


@pytest.mark.parametrize("state", ["PartialData", "InternalError", "Forbidden"])
async def test_a_part_of_the_numbers_is_not_taken_for_all_of_them(world: World, state: str) -> None:
    world.aws.count(bedrock("Invocations"), moment("2026-11-28T09:50"), 3)
    world.aws.status_code = state
    with pytest.raises(UnexpectedStatus, match=rf"CloudWatch gave a part of the numbers only \({state}\)"):
        await world.read()
    world.aws.status_code = "Complete"
    world.now += RETRY_S
    assert (await world.read())[SUCCESSES] == 3


async def test_a_slow_answer_outlasts_a_scrape_and_one_without_end_is_given_up(world: World) -> None:
    gate = asyncio.Event()

    async def slow(asked: dict[str, Any]) -> web.Response:
        await gate.wait()
        return web.json_response({"Metrics": []})

    world.aws.failures = {LISTED: slow}
    with pytest.raises(ScrapeTimeout, match=r"the cloud's metrics were not read within 0.09 s"):
        await world.read(timeout_s=0.1)
    gate.set()
    assert ("llm_account_read_timestamp_seconds",) in await world.read()
    assert world.aws.asked == [LISTED], "the reading went on where it was"

    gate.clear()
    with pytest.raises(ScrapeTimeout, match=r"127.0.0.1 did not answer within 0.1 s"):
        await world.read(world.reader(request_s=0.1))
    await world.reader().close()


@pytest.mark.parametrize(
    ("action", "text", "message"),
    [
        (LISTED, "<html>", "not JSON"),
        (LISTED, "[" * 100_000, "not JSON"),
        (LISTED, "[]", "no JSON object"),
        (LISTED, '{"Metrics": [3]}', "Metrics is no list of objects"),
        (LISTED, '{"NextToken": "same"}', "the pages do not end"),
        (LISTED, '{"NextToken": 3}', "the pages do not end"),
        (LISTED, '{"Metrics": [{"MetricName": "Invocations", "Dimensions": [{"Name": "ModelId"}]}]}', "no text"),
        (DATA, '{"MetricDataResults": [{"Id": "q99"}]}', "an Id that was not asked for"),
        (DATA, '{"MetricDataResults": [{"Id": "q0", "Timestamps": [1]}]}', "other numbers of times and values"),
        (DATA, '{"MetricDataResults": [{"Id": "q0", "Timestamps": [1], "Values": ["x"]}]}', "is not a number"),
        (DATA, '{"MetricDataResults": [{"Id": "q0", "Timestamps": [1], "Values": [NaN]}]}', "is not a number"),
    ],
)
async def test_other_answers_are_malformed(world: World, action: str, text: str, message: str) -> None:
    async def answering(asked: dict[str, Any]) -> web.Response:
        return web.Response(text=text)

    world.aws.count(bedrock("Invocations"), moment("2026-11-28T09:50"), 3)
    world.aws.failures = {action: answering}
    with pytest.raises(ExpositionError, match=message):
        await world.read()


async def test_a_flood_a_dead_host_and_too_many_models_are_told(world: World) -> None:
    async def flooding(asked: dict[str, Any]) -> web.Response:
        return web.Response(text=" " * 5000)

    world.aws.failures = {LISTED: flooding}
    with pytest.raises(ScrapeError, match="more than the 1000 bytes allowed"):
        await world.read(world.reader(max_body_bytes=1000))
    with pytest.raises(Unreachable, match=r"127.0.0.1: connection refused; is eu-west-1 the right region"):
        await world.read(world.reader(url="http://127.0.0.1:9"))
    world.aws.failures = {}
    world.aws.page = 10_000
    for number in range(5001):
        world.aws.count(bedrock("Invocations", f"m{number}"), moment("2026-11-28T09:50"), 1)
    with pytest.raises(ExpositionError, match="5001 sums of models; 5000 are read at most"):
        await world.read()


@pytest.mark.parametrize("engine", ["bedrock", "sagemaker"])
async def test_the_numbers_are_canonical(world: World, engine: str) -> None:
    world.aws.count(bedrock("Invocations"), moment("2026-11-28T09:50"), 3)
    world.aws.count(variant("Invocations"), moment("2026-11-28T09:50"), 3)
    parsed = parse(await world.reader(engine).read(30.0))
    catalogue = load_catalogue()
    target = Target(engine, world.aws.url, engine, "aws")
    layout = canonical_layout(parsed.series, parsed.metadata, target, catalogue)

    assert missing(layout, catalogue, engine) == ()
    labels = [dict(s.labels) for s in layout.raw if s.name == "llm_requests_total"]
    assert [(each["source"], each["model"], each.get("version")) for each in labels] == [
        ("account", MODEL, None) if engine == "bedrock" else ("account", "chat", "blue")
    ]
