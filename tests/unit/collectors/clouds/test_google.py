"""Vertex AI read from Cloud Monitoring: tokens of a service account, whole periods, and a Google that misbehaves."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collectors.catalogue.mapping import canonical_layout, missing
from collectors.catalogue.model import load_catalogue
from collectors.clouds.google.identities import GoogleIdentity
from collectors.clouds.google.meter import GoogleMeter
from collectors.clouds.metered.source import MeteredSource
from collectors.clouds.waiting import RETRY_S
from collectors.errors import ExpositionError, ScrapeError, ScrapeTimeout, UnexpectedStatus
from collectors.exposition.parser import parse
from collectors.target import Target
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_google import PROJECT, FakeGoogle

REQUESTS, TOKENS = "model_invocation_count", "token_count"
AT = moment("2026-11-28T09:50")
SUCCESSES = ("llm_requests_total", "success", "gemini-x")


class World:
    """A project at Google, its reader, and the time on all clocks."""

    def __init__(self, google: FakeGoogle, key: Path) -> None:
        self.google, self.key = google, key
        self.at("2026-11-28T10:00")
        self.opened: list[MeteredSource] = []
        self.source = self.reader()

    def at(self, text: str) -> None:
        self.now = self.google.now = moment(text)

    def reader(self, **options: Any) -> MeteredSource:
        meter = GoogleMeter(
            self.google.url, PROJECT, GoogleIdentity(file=str(self.key)), wall=lambda: self.now, **options
        )
        self.opened.append(MeteredSource(meter, clock=lambda: self.now, wall=lambda: self.now))
        return self.opened[-1]

    async def read(self, source: MeteredSource | None = None) -> dict[tuple[str, ...], float]:
        """Return the samples: (name, label values in the order of names) -> value."""
        parsed = parse(await (source or self.source).read(30.0))
        return {
            (s.name, *(value for _, value in s.labels)): float(x)
            for s, x in zip(parsed.series, parsed.values, strict=True)
        }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with FakeGoogle() as google:
        google.write_key(tmp_path / "key.json")
        made = World(google, tmp_path / "key.json")
        yield made
        for source in made.opened:
            await source.close()


async def test_requests_tokens_and_durations_are_counters_of_the_month(world: World) -> None:
    for at in (moment("2026-11-02T08:00"), AT, moment("2026-11-28T09:56")):
        for code in ("200", "400", "429", "503"):
            world.google.count(REQUESTS, "gemini-x", code, at, 2)
        world.google.count(TOKENS, "gemini-x", "input", at, 100)
        world.google.count(TOKENS, "gemini-x", "output", at, 10)
        world.google.count("model_invocation_latencies", "gemini-x", "", at, 2, 1500.0)
        world.google.count("first_token_latencies", "gemini-x", "", at, 1, 250.0)

    found = await world.read()
    assert {key: value for key, value in found.items() if not key[0].startswith("llm_account")} == {
        SUCCESSES: 4,
        ("llm_requests_total", "invalid", "400", "gemini-x"): 4,
        ("llm_requests_total", "rejected", "429", "gemini-x"): 4,
        ("llm_requests_total", "error", "503", "gemini-x"): 4,
        ("llm_tokens_total", "gemini-x", "input"): 200,
        ("llm_tokens_total", "gemini-x", "output"): 20,
        ("llm_request_duration_seconds_sum", "gemini-x"): 6.0,
        ("llm_request_duration_seconds_count", "gemini-x"): 4,
        ("llm_time_to_first_token_seconds_sum", "gemini-x"): 0.5,
        ("llm_time_to_first_token_seconds_count", "gemini-x"): 2,
    }
    assert found["llm_account_requests", "gemini-x", "day"] == 8
    assert world.google.asked == ["token", *["metrics"] * 8]


async def test_each_period_is_read_once_and_a_restart_finds_the_counters_again(world: World) -> None:
    world.google.count(REQUESTS, "gemini-x", "200", AT, 2)
    world.google.count(REQUESTS, "gemini-x", "200", moment("2026-11-28T09:57"), 3)
    assert (await world.read())[SUCCESSES] == 2
    world.at("2026-11-28T10:03")
    assert (await world.read())[SUCCESSES] == 5
    assert ("interval.startTime", "2026-11-28T09:55:00Z") in world.google.queries[-1]
    assert await world.read(world.reader()) == await world.read()


async def test_pages_are_followed_to_the_end(world: World) -> None:
    world.google.page = 1
    for model in ("a", "b", "c"):
        world.google.count(REQUESTS, model, "200", AT, 1)
    found = await world.read()
    assert [found["llm_requests_total", "success", model] for model in "abc"] == [1, 1, 1]


async def test_a_token_is_kept_renewed_before_its_end_and_replaced_when_it_is_refused(world: World) -> None:
    await world.read()
    world.at("2026-11-28T10:54")
    await world.read()
    assert world.google.asked.count("token") == 1
    world.at("2026-11-28T10:59")
    await world.read()
    assert world.google.asked.count("token") == 2
    world.google.good.clear()
    world.at("2026-11-28T11:05")
    await world.read()
    assert world.google.asked.count("token") == 3


async def test_a_wrong_clock_is_told(world: World) -> None:
    world.now -= 7200
    with pytest.raises(UnexpectedStatus, match="no token: status 400: this host's clock is wrong; set it"):
        await world.read()


@pytest.mark.parametrize(
    ("what", "status", "cure"),
    [
        ("token", 500, "no token: status 500$"),
        ("token", 429, "too many requests; the next try is in 60 s"),
        ("metrics", 401, "timeSeries.list: status 401$"),
        ("metrics", 403, "lacks monitoring.timeSeries.list; give it the role roles/monitoring.viewer in my-project"),
        ("metrics", 404, "there is no project my-project; correct google.project"),
        ("metrics", 429, "too many requests; the next try is in 60 s"),
    ],
)
async def test_a_refusal_names_the_cure(world: World, what: str, status: int, cure: str) -> None:
    world.google.failures = {what: status}
    with pytest.raises(UnexpectedStatus, match=cure):
        await world.read()
    world.google.failures = {}
    world.now += RETRY_S
    await world.read()


async def test_a_deleted_key_and_a_wrong_file_are_told_without_the_key(world: World) -> None:
    async def deleted(request: web.Request) -> web.Response:
        return web.json_response({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, status=400)

    world.google.failures = {"token": deleted}
    with pytest.raises(UnexpectedStatus, match=r"Google does not know the key in .*key.json; is it deleted"):
        await world.read()
    good = json.loads(world.key.read_text())
    for text, message in (
        ("[", "is not JSON; it has to be the key of a service account: gcloud"),
        ("", "is empty; it has to be the key of a service account"),
        ("[]", "is no JSON object"),
        ("{}", "has no type, not service_account; it has to be"),
        ('{"type": "authorized_user"}', "has the type authorized_user, not service_account; it has to be"),
        ('{"type": "external_account"}', "not service_account; set google.identity: external_account"),
        ('{"type": "service_account"}', "has no client_email; create the file again"),
        (json.dumps({**good, "private_key": "hidden"}), "the private_key in .* cannot be parsed; create the key again"),
        ("[" * 60_000, "is not JSON"),
    ):
        world.key.write_text(text)
        with pytest.raises(ScrapeError, match=message) as told:
            await world.read(world.reader())
        assert "hidden" not in str(told.value)
    world.key.unlink()
    os.mkfifo(world.key)
    with pytest.raises(ScrapeError, match=r"cannot read the key file .*: it is no regular file"):
        await world.read(world.reader())
    world.key.unlink()
    with pytest.raises(ScrapeError, match=r"cannot read the key file .*: No such file"):
        await world.read(world.reader())


async def test_an_answer_without_end_is_given_up(world: World) -> None:
    async def hanging(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    world.google.failures = {"metrics": hanging}
    with pytest.raises(ScrapeTimeout, match=r"127.0.0.1 did not answer within 0.1 s"):
        await world.read(world.reader(request_s=0.1))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("<html>", ExpositionError, "not JSON"),
        ('{"timeSeries": [{}]}', ExpositionError, "another form"),
        ('{"timeSeries": 3}', ExpositionError, "another form"),
        ('{"nextPageToken": "same"}', ExpositionError, "the pages do not end"),
        ('{"executionErrors": [{"code": 14}]}', UnexpectedStatus, "a part of the numbers only"),
    ],
)
async def test_other_answers_are_told(world: World, text: str, error: type[ScrapeError], message: str) -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.Response(text=text)

    world.google.failures = {"metrics": answering}
    with pytest.raises(error, match=message):
        await world.read()


async def test_the_numbers_are_canonical(world: World) -> None:
    world.google.count(REQUESTS, "gemini-x", "200", AT, 2)
    parsed = parse(await world.source.read(30.0))
    catalogue = load_catalogue()
    layout = canonical_layout(parsed.series, parsed.metadata, Target("vertex", world.google.url, "v", "g"), catalogue)
    assert missing(layout, catalogue, "vertex") == ()
    labels = [dict(s.labels) for s in layout.raw if s.name == "llm_requests_total"]
    assert [(each["source"], each["model"], each["outcome"]) for each in labels] == [("account", "gemini-x", "success")]
