"""Identities at Azure without secrets: workload identities and managed ones, and issuers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from collectors.clouds.azure.managed import ManagedTokens
from collectors.clouds.azure.meter import AzureMeter
from collectors.clouds.azure.token import MANAGED, WORKLOAD, Application
from collectors.clouds.metered.periods import Span
from collectors.errors import ScrapeError, UnexpectedStatus
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_azure import CLIENT, RESOURCE, TENANT, FakeAzure
from tests.fakes.cloud_issuers import APP_HEADER, FakeIssuers

AUDIENCE = "https://management.azure.com"


@pytest.fixture
async def issuers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeIssuers]:
    async with FakeIssuers() as issuers:
        issuers.now = moment("2026-11-28T10:00")
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", issuers.url)
        monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
        yield issuers


@pytest.fixture
async def tokens(issuers: FakeIssuers) -> AsyncIterator[ManagedTokens]:
    made = ManagedTokens("", AUDIENCE, lambda: issuers.now, 0.5)
    yield made
    await made.close()


async def test_a_host_gives_the_token_of_its_identity(issuers: FakeIssuers, tokens: ManagedTokens) -> None:
    assert await tokens.current() == "token-1"
    query = {"api-version": "2018-02-01", "resource": AUDIENCE}
    assert dict(issuers.seen[0].query) == query
    issuers.now += 3300
    assert await tokens.current() == "token-2"
    named = ManagedTokens("c-1", AUDIENCE, lambda: issuers.now)
    assert await named.current() == "token-3"
    assert dict(issuers.seen[2].query) == {**query, "client_id": "c-1"}
    await named.close()


async def test_app_service_gives_the_token_for_its_header(
    issuers: FakeIssuers, tokens: ManagedTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{issuers.url}/msi/token")
    with pytest.raises(ScrapeError, match="IDENTITY_HEADER is not set in the environment; App Service sets it"):
        await tokens.current()
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(UnexpectedStatus, match="no token of the managed identity: status 401"):
        await tokens.current()
    monkeypatch.setenv("IDENTITY_HEADER", APP_HEADER)
    assert await tokens.current() == "token-1"
    issuers.now += 3599
    issuers.failures = {"app": 500}
    assert await tokens.current() == "token-1"
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://example.com/msi/token")
    tokens.forget()
    with pytest.raises(ScrapeError, match=r"IDENTITY_ENDPOINT names example.com without TLS"):
        await tokens.current()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "has no system-assigned identity; switch it on, or set azure.client"),
        (404, "has no system-assigned identity"),
        (429, "too many requests"),
        (500, "status 500$"),
        (302, "status 302$"),
    ],
)
async def test_a_refusal_names_the_cure(issuers: FakeIssuers, tokens: ManagedTokens, status: int, message: str) -> None:
    issuers.failures = {"azure": status}
    with pytest.raises(UnexpectedStatus, match=message):
        await tokens.current()


async def test_hangs_floods_and_garbage(issuers: FakeIssuers, tokens: ManagedTokens) -> None:
    async def hanging(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def flood(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100_000)

    async def garbage(request: web.Request) -> web.Response:
        return web.Response(text='{"access_token": "hidden"}')

    for answer, message in (
        (hanging, "did not answer within 0.5 s; a managed identity exists only on a host or in a service of Azure's"),
        (flood, "the body has more than the 65536 bytes allowed"),
        (garbage, "no access_token with expires_in or expires_on"),
    ):
        issuers.failures = {"azure": answer}
        with pytest.raises(ScrapeError, match=message) as told:
            await tokens.current()
        assert "hidden" not in str(told.value)


class Workload:
    """A pod of AKS with its own token, and the identity platform that federates it."""

    def __init__(self, azure: FakeAzure, file: Path) -> None:
        self.azure, self.file, self.now = azure, file, moment("2026-11-28T10:00")
        self.file.write_text("pod.token.1\n")
        azure.assertion = "pod.token.1"

    async def read(self, tenant: str = "", client: str = "", identity: str = WORKLOAD) -> None:
        application = Application(tenant, client, self.azure.url, identity)
        meter = AzureMeter(self.azure.url, RESOURCE, application, None, wall=lambda: self.now)
        try:
            await meter.read(Span(self.now - 600, self.now - 600, self.now))
        finally:
            await meter.close()


@pytest.fixture
async def workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workload]:
    async with FakeAzure() as azure:
        made = Workload(azure, tmp_path / "token")
        monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
        monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(made.file))
        yield made


async def test_a_pod_changes_its_own_token_for_one_of_the_application(workload: Workload) -> None:
    await workload.read()
    assert workload.azure.asked == ["token", "metrics", "metrics"]


async def test_fleet_yaml_takes_precedence_over_the_environment(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_ID", "another")
    with pytest.raises(UnexpectedStatus, match="AADSTS700213: the application has no federated credential for"):
        await workload.read()
    await workload.read(client=CLIENT)


async def test_a_pods_token_is_read_anew_and_never_shown(workload: Workload) -> None:
    workload.azure.assertion = "pod.token.2"
    with pytest.raises(UnexpectedStatus) as told:
        await workload.read()
    assert "pod.token" not in str(told.value)
    workload.file.write_text("pod.token.2")
    await workload.read()


@pytest.mark.parametrize("name", ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"])
async def test_an_incomplete_environment_is_told(
    workload: Workload, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ScrapeError, match=f"{name} is not set in the environment; AKS sets it for a pod with"):
        await workload.read()


async def test_a_meter_asks_with_the_token_of_the_host(
    workload: Workload, issuers: FakeIssuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload.azure.good.add("token-1")
    await workload.read(identity=MANAGED)
    assert (workload.azure.asked, issuers.asked) == (["metrics", "metrics"], ["azure"])
