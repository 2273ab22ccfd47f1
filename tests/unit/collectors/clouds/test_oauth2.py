"""Tokens by client credentials, over real HTTP: whom they are shown to, how long they serve, and bad issuers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from collectors.clouds.client_credentials import ClientCredentials
from collectors.clouds.oauth2 import Tokens
from collectors.errors import ScrapeError, ScrapeTimeout, UnexpectedStatus
from collectors.http.fetch import HttpSource
from collectors.http.http_client import HttpClient
from collectors.target import Auth, IssuedAuth
from tests.fakes.asking import Asks, posted, remote
from tests.fakes.oauth_issuer import CLIENT, PAGE, SECRET, OAuthIssuer
from tests.patience import HANG_S


@pytest.fixture
async def issuer() -> AsyncIterator[OAuthIssuer]:
    async with OAuthIssuer() as issuer:
        yield issuer


def client_of(issuer: OAuthIssuer) -> ClientCredentials:
    return ClientCredentials(f"{issuer.url}/token", CLIENT, Auth(inline=SECRET))


def source_of(issuer: OAuthIssuer, client: ClientCredentials) -> HttpSource:
    return HttpSource(f"{issuer.url}/metrics", IssuedAuth(oauth2=client))


async def test_targets_of_one_section_share_a_token_that_the_issuer_gave_once(issuer: OAuthIssuer) -> None:
    client = client_of(issuer)
    sources = [source_of(issuer, client) for _ in range(20)]
    bodies = await asyncio.gather(*(source.read(HANG_S) for source in sources))
    assert set(bodies) == {PAGE.encode()}
    assert await sources[0].read(HANG_S) == PAGE.encode()
    assert (issuer.given, issuer.asked) == (1, [{"grant_type": "client_credentials"}])
    for source in sources:
        await source.close()


async def test_scopes_and_parameters_are_sent_as_they_are_written(issuer: OAuthIssuer) -> None:
    params = (("audience", "https://x/?y=1&z"), ("grant_type", "password"))
    client = replace(client_of(issuer), scopes=("metrics.read", "a b"), params=params)
    assert await client.authorization() == "Bearer token-1"
    (asked,) = issuer.asked
    assert asked == {
        "grant_type": "client_credentials", "scope": "metrics.read a b", "audience": "https://x/?y=1&z",
    }  # fmt: skip


async def test_an_issuer_that_reads_the_form_alone_is_asked_so_from_then_on(issuer: OAuthIssuer) -> None:
    now = [1000.0]
    tokens = Tokens(client_of(issuer), lambda: now[0])
    issuer.takes = "form"
    for number in (1, 2):
        assert await tokens.current() == f"token-{number}"
        now[0] += 3600
    assert ["client_secret" in form for form in issuer.asked] == [False, True, True]
    issuer.takes = "header"
    assert await tokens.current() == "token-3"


async def test_a_wrong_secret_is_told_with_its_cure_and_without_the_secret(issuer: OAuthIssuer) -> None:
    issuer.secret = "another"
    with pytest.raises(ScrapeError) as told:
        await source_of(issuer, client_of(issuer)).read(HANG_S)
    assert str(told.value) == (
        "oauth2: no token from 127.0.0.1: status 401 invalid_client: the issuer does not accept client_id and the "
        "client secret; give the client's current ones"
    )
    assert not isinstance(told.value, UnexpectedStatus), "the target has not answered"


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (web.Response(status=400, text='{"error": "invalid_scope"}'), r"status 400 invalid_scope: .* scopes:"),
        (web.Response(status=400, text=f'{{"error": "no {SECRET}"}}'), "status 400$"),
        (web.Response(status=500, text="<html>"), "status 500$"),
        (web.Response(status=302, headers={"Location": "/elsewhere"}), "status 302$"),
        (web.Response(status=429, headers={"Retry-After": "7"}), "status 429: too many requests; .* 7 s$"),
        (web.Response(text="<html>"), "the token: the answer is not JSON"),
        (web.Response(text="[]"), "the token: the answer is no JSON object"),
        (web.Response(text='{"expires_in": 5}'), "the token: the answer has no access_token"),
        (web.Response(text='{"access_token": "a\\nb", "expires_in": 5}'), "the token: the answer has no access_token"),
        (web.Response(text='{"access_token": "a", "token_type": "mac"}'), "the token: its token_type is not Bearer"),
        (web.Response(text='{"access_token": "a", "token_type": 1}'), "the token: its token_type is not Bearer"),
        (web.Response(text='{"access_token": "a", "expires_in": -1}'), "the token: the answer has no access_token"),
        (web.Response(text="x" * 70_000), "the body has more than the 65536 bytes allowed"),
    ],
)
async def test_an_issuer_that_gives_no_token_is_named(issuer: OAuthIssuer, failure: web.Response, said: str) -> None:
    issuer.failure = failure
    with pytest.raises(ScrapeError, match=rf"^oauth2: no token from 127\.0\.0\.1: {said}") as told:
        await client_of(issuer).authorization()
    assert SECRET not in str(told.value)
    issuer.failure = None
    client = client_of(issuer)
    assert await client.authorization() == "Bearer token-1"


async def test_a_secret_that_cannot_be_read_is_told_and_read_anew_each_time(
    issuer: OAuthIssuer, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    client = replace(client_of(issuer), secret=Auth(credentials_file=str(secret)))
    with pytest.raises(
        ScrapeError, match=f"^oauth2: no token from 127.0.0.1: cannot read the credentials file {secret}"
    ):
        await client.authorization()
    secret.write_text(f"{SECRET}\n")
    assert await client.authorization() == "Bearer token-1"


async def test_nobody_at_the_address_of_the_issuer(issuer: OAuthIssuer) -> None:
    client = replace(client_of(issuer), token_url="http://127.0.0.1:1/token")
    with pytest.raises(ScrapeError, match=r"^oauth2: no token from 127\.0\.0\.1: 127\.0\.0\.1: connection refused$"):
        await client.authorization()


async def test_a_scrape_that_waits_for_its_token_until_the_deadline_says_so(issuer: OAuthIssuer) -> None:
    issuer.hangs = asyncio.Event()
    source = source_of(issuer, client_of(issuer))
    with pytest.raises(ScrapeTimeout, match=r"^timed out after 0.05s \(no token from 127\.0\.0\.1 yet\)$"):
        await source.read(0.05)
    issuer.hangs.set()
    assert await source.read(HANG_S) == PAGE.encode()
    assert issuer.given == 1, "the question that the first scrape asked went on"
    await source.close()


async def scraped(url: str, auth: Auth) -> int:
    source = HttpSource(url, auth)
    try:
        return 200 if await source.read(HANG_S) == PAGE.encode() else 0
    except UnexpectedStatus as error:
        return error.status
    finally:
        await source.close()


@pytest.mark.parametrize("asks", [scraped, remote, posted])
async def test_a_token_that_the_server_refuses_is_replaced_at_once_and_once_a_minute(
    issuer: OAuthIssuer, asks: Asks
) -> None:
    auth = IssuedAuth(oauth2=client_of(issuer))
    url = f"{issuer.url}/metrics"
    assert await asks(url, auth) == 200
    issuer.accepted.clear()
    assert [await asks(url, auth) for _ in range(3)] == [200, 200, 200]
    assert issuer.given == 2
    issuer.accepted.clear()
    assert [await asks(url, auth) for _ in range(3)] == [401, 401, 401], "the right is missing, and not the token"
    assert issuer.given == 2


@pytest.mark.parametrize("asks", [remote, posted])
async def test_an_issuer_that_is_away_leaves_the_refusal_as_it_is(issuer: OAuthIssuer, asks: Asks) -> None:
    auth = IssuedAuth(oauth2=client_of(issuer))
    assert await asks(f"{issuer.url}/metrics", auth) == 200
    issuer.accepted.clear()
    issuer.failure = web.Response(status=503)
    assert await asks(f"{issuer.url}/metrics", auth) == 401


async def test_a_token_without_an_end_serves_for_five_minutes(issuer: OAuthIssuer) -> None:
    now = [1000.0]
    tokens = Tokens(client_of(issuer), lambda: now[0])
    issuer.answer = {}
    assert await tokens.current() == "token-1"
    now[0] += 149
    assert await tokens.current() == "token-1"
    now[0] += 1
    assert await tokens.current() == "token-2", "renewed after half its time"


async def test_one_refused_token_is_replaced_once_for_all_and_again_after_a_minute(issuer: OAuthIssuer) -> None:
    now = [1000.0]
    tokens = Tokens(client_of(issuer), lambda: now[0])
    assert await tokens.current() == "token-1"
    found = await asyncio.gather(*(tokens.instead_of("token-1") for _ in range(5)))
    assert found == ["token-2"] * 5
    assert await tokens.instead_of("token-1") == "token-2", "one that was under way asks nobody"
    asked = []
    for now[0], refused in ((1059.0, "token-2"), (1060.0, "token-2"), (900.0, "token-3"), (960.0, "token-4")):
        asked.append(await tokens.instead_of(refused))
    assert asked == [None, "token-3", "token-4", "token-5"], "a clock that was set back holds up nobody"


async def test_a_target_that_refuses_every_token_takes_it_from_no_other(issuer: OAuthIssuer) -> None:
    client = client_of(issuer)
    good, bad = source_of(issuer, client), HttpSource(f"{issuer.url}/never", IssuedAuth(oauth2=client))
    await good.read(HANG_S)
    issuer.failure = web.Response(status=503)
    with pytest.raises(UnexpectedStatus, match="answered 401"):
        await bad.read(HANG_S)
    assert await good.read(HANG_S) == PAGE.encode(), "the issuer is away, and the token is good"
    await good.close()
    await bad.close()


async def test_a_key_in_a_header_of_its_own_is_replaced_too(issuer: OAuthIssuer) -> None:
    client = HttpClient(IssuedAuth(oauth2=client_of(issuer)))
    for _ in range(2):
        options = await client.options(f"{issuer.url}/metrics")
        options["headers"]["X-Api-Key"] = options["headers"]["Authorization"].removeprefix("Bearer ")
        async with client.session().get(f"{issuer.url}/metrics", **options) as response:
            assert response.status == 200
        issuer.accepted.clear()
    assert issuer.keys == ["token-1", "token-1", "token-2"]
    await client.close()


def test_settings_are_compared_and_a_token_is_no_part_of_them() -> None:
    one, same = (ClientCredentials("http://i/token", "c", Auth(inline="s")) for _ in range(2))
    assert one == same
    assert hash(IssuedAuth(oauth2=one)) == hash(IssuedAuth(oauth2=same))
    assert one != replace(one, secret=Auth(inline="other"))
    assert SECRET not in repr(replace(one, secret=Auth(inline=SECRET)))
