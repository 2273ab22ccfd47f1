"""Identities at Google without keys: the metadata server and external accounts, and issuers that misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collectors.clouds.google.external import ExternalAccountTokens
from collectors.clouds.google.identities import METADATA, GoogleIdentity
from collectors.clouds.google.metadata import MetadataTokens
from collectors.clouds.google.meter import GoogleMeter
from collectors.clouds.google.token import MONITORING
from collectors.clouds.issuing import issuer_api
from collectors.clouds.json_api import JsonApi
from collectors.clouds.metered.periods import Span
from collectors.errors import ScrapeError, UnexpectedStatus
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_google import PROJECT, FakeGoogle
from tests.fakes.cloud_issuers import POOL, WEB_TOKEN, FakeIssuers

SCOPES = (MONITORING,)


class World:
    """A pool of external accounts and a metadata server on one clock, with the files of one external account."""

    def __init__(self, issuers: FakeIssuers, folder: Path) -> None:
        self.issuers, self.file, self.proof = issuers, folder / "external.json", folder / "proof"
        issuers.now = moment("2026-11-28T10:00")
        self.proof.write_text(WEB_TOKEN)
        self.api: JsonApi = issuer_api(request_s=0.5)
        self.describe()

    def describe(self, **more: Any) -> None:
        """Write the file of the external account; None leaves a field out."""
        described = {
            "type": "external_account",
            "audience": POOL,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.issuers.url}/v1/token",
            "credential_source": {"file": str(self.proof)},
            **more,
        }
        self.file.write_text(json.dumps({name: value for name, value in described.items() if value is not None}))

    def external(self) -> ExternalAccountTokens:
        return ExternalAccountTokens(str(self.file), self.api, lambda: self.issuers.now, SCOPES)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with FakeIssuers() as issuers:
        monkeypatch.setenv("GCE_METADATA_HOST", issuers.url.removeprefix("http://"))
        made = World(issuers, tmp_path)
        yield made
        await made.api.close()


@pytest.fixture
async def metadata(world: World) -> AsyncIterator[MetadataTokens]:
    made = MetadataTokens(SCOPES, lambda: world.issuers.now, 0.5)
    yield made
    await made.close()


async def test_the_metadata_server_gives_the_token_of_the_host(world: World, metadata: MetadataTokens) -> None:
    assert await metadata.current() == "token-1"
    assert dict(world.issuers.seen[0].query) == {"scopes": MONITORING}
    world.issuers.now += 3300
    assert await metadata.current() == "token-2"
    world.issuers.failures = {"google": 503}
    world.issuers.now += 3599
    assert await metadata.current() == "token-2"
    world.issuers.now += 1
    with pytest.raises(UnexpectedStatus, match=r"status 503$"):
        await metadata.current()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "give the host, or the pod's Kubernetes account, a service account"),
        (403, "roles/iam.workloadIdentityUser on the service account"),
        (429, "too many requests"),
        (302, "status 302$"),
    ],
)
async def test_a_refusal_of_the_metadata_server(
    world: World, metadata: MetadataTokens, status: int, message: str
) -> None:
    world.issuers.failures = {"google": status}
    with pytest.raises(UnexpectedStatus, match=message):
        await metadata.current()


async def test_another_server_at_its_name_hangs_and_floods_are_told(world: World, metadata: MetadataTokens) -> None:
    async def portal(request: web.Request) -> web.Response:
        return web.json_response({"access_token": "hidden", "expires_in": 60})

    async def hanging(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def flood(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100_000, headers={"Metadata-Flavor": "Google"})

    for answer, message in (
        (portal, "127.0.0.1 is no metadata server of Google's: the header Metadata-Flavor is missing"),
        (hanging, "did not answer within 0.5 s; the metadata server exists only on hosts and in pods of Google's"),
        (flood, "the body has more than the 65536 bytes allowed"),
    ):
        world.issuers.failures = {"google": answer}
        with pytest.raises(ScrapeError, match=message) as told:
            await metadata.current()
        assert "hidden" not in str(told.value)


async def test_an_external_account_changes_its_token_for_one_of_googles(world: World) -> None:
    tokens = world.external()
    assert await tokens.current() == "token-1"
    form = dict(await world.issuers.seen[0].post())
    assert (form["scope"], form["requested_token_type"]) == (
        MONITORING,
        "urn:ietf:params:oauth:token-type:access_token",
    )
    world.issuers.web_token = "next"
    world.issuers.now += 3600
    with pytest.raises(UnexpectedStatus, match=r"Google refuses the token in .*proof; is it renewed") as told:
        await tokens.current()
    assert WEB_TOKEN not in str(told.value)
    world.proof.write_text("next")
    assert await tokens.current() == "token-2"


async def test_it_may_stand_for_a_service_account_for_as_long_as_the_file_says(world: World) -> None:
    world.describe(
        service_account_impersonation_url=f"{world.issuers.url}/impersonate",
        service_account_impersonation={"token_lifetime_seconds": 1200},
    )
    tokens = world.external()
    assert await tokens.current() == "token-2"
    assert world.issuers.asked == ["exchange", "impersonate"]
    world.issuers.now += 899
    assert await tokens.current() == "token-2"
    world.issuers.now += 1
    assert await tokens.current() == "token-4"


async def test_the_proof_may_be_a_field_of_json(world: World) -> None:
    form = {"type": "json", "subject_token_field_name": "id_token"}
    world.describe(credential_source={"file": str(world.proof), "format": form})
    for text, message in (
        (WEB_TOKEN, "the token file .*proof is not JSON$"),
        ("", "is empty$"),
        ('{"other": "hidden"}', "has no text id_token$"),
    ):
        world.proof.write_text(text)
        with pytest.raises(ScrapeError, match=message) as told:
            await world.external().current()
        assert WEB_TOKEN not in str(told.value)
        assert "hidden" not in str(told.value)
    world.proof.write_text(json.dumps({"id_token": WEB_TOKEN}))
    assert await world.external().current() == "token-1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "service_account"}, "not external_account; set google.identity: service_account"),
        ({"credential_source": {"url": "http://169.254.169.254/"}}, "only tokens in files are read"),
        ({"credential_source": {"executable": {"command": "rm"}}}, "only tokens in files are read"),
        ({"credential_source": None}, "has no credential_source.file"),
        ({"audience": None}, "has no audience; create the file again"),
        ({"audience": "//other"}, "names no provider of a pool that exists"),
        ({"token_url": "http://example.com/v1/token"}, "names example.com without TLS; it has to begin with https"),
        ({"service_account_impersonation_url": "http://example.com/"}, "names example.com without TLS"),
        ({"service_account_impersonation": {"token_lifetime_seconds": 5}}, "is not of 600 to 43200 seconds"),
    ],
)
async def test_another_file_is_told_with_the_cure(world: World, change: dict[str, Any], message: str) -> None:
    world.describe(**change)
    with pytest.raises(ScrapeError, match=message):
        await world.external().current()


@pytest.mark.parametrize(
    ("what", "status", "message"),
    [
        ("exchange", 429, "too many requests"),
        ("exchange", 500, "status 500$"),
        ("exchange", 307, "status 307$"),
        ("impersonate", 403, "give the external account the role roles/iam.workloadIdentityUser"),
        ("impersonate", 200, "the answer has no accessToken"),
    ],
)
async def test_refusals_of_the_exchange(world: World, what: str, status: int, message: str) -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.Response(status=status, text='{"access_token": "hidden"}')

    world.describe(service_account_impersonation_url=f"{world.issuers.url}/impersonate")
    world.issuers.failures = {what: answering}
    with pytest.raises(ScrapeError, match=message) as told:
        await world.external().current()
    assert "hidden" not in str(told.value)


async def test_a_meter_asks_with_the_token_of_the_host(world: World) -> None:
    async with FakeGoogle() as google:
        google.good.add("token-1")
        meter = GoogleMeter(google.url, PROJECT, GoogleIdentity(METADATA), wall=lambda: world.issuers.now)
        at = world.issuers.now
        assert await meter.read(Span(at - 600, at - 600, at)) == []
        assert (set(google.asked), world.issuers.asked) == ({"metrics"}, ["google"])
        await meter.close()
