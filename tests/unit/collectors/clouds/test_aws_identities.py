"""Identities at AWS without keys: web identities, containers and instances, and issuers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from collectors.clouds.aws.container import ContainerKeys
from collectors.clouds.aws.identities import AwsKeys
from collectors.clouds.aws.instance import InstanceKeys
from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.meters import AwsPlace, aws_meter
from collectors.clouds.aws.signing import Key
from collectors.clouds.aws.web_identity import WebIdentityKeys
from collectors.clouds.kept import Kept
from collectors.clouds.metered.periods import Span
from collectors.errors import BodyTooLarge, ExpositionError, ScrapeError, UnexpectedStatus
from tests.fakes.cloud_accounts import moment
from tests.fakes.cloud_aws import KEY_ID, REGION, SECRET, FakeAws
from tests.fakes.cloud_issuers import AGENT_TOKEN, ROLE_ARN, WEB_TOKEN, FakeIssuers, sts_refusal


class World:
    """All issuers on one clock, and the environment of a program with each of its identities."""

    def __init__(self, issuers: FakeIssuers, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.issuers, self.env = issuers, monkeypatch
        issuers.now = moment("2026-11-28T10:00")
        self.web_token, self.agent_token = folder / "web", folder / "agent"
        self.web_token.write_text(f"{WEB_TOKEN}\n")
        self.agent_token.write_text(AGENT_TOKEN)
        for name, value in {
            "AWS_ROLE_ARN": ROLE_ARN,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(self.web_token),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{issuers.url}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(self.agent_token),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": issuers.url,
        }.items():
            monkeypatch.setenv(name, value)
        self.opened: list[Kept[Key]] = []

    def keys(self, kind: str, request_s: float = 5.0) -> Kept[Key]:
        def wall() -> float:
            return self.issuers.now

        made: dict[str, Callable[[], Kept[Key]]] = {
            "sts": lambda: WebIdentityKeys(self.issuers.url, None, wall, request_s),
            "container": lambda: ContainerKeys(wall, request_s),
            "instance": lambda: InstanceKeys(wall, request_s),
        }
        self.opened.append(made[kind]())
        return self.opened[-1]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with FakeIssuers() as issuers:
        made = World(issuers, tmp_path, monkeypatch)
        yield made
        for keys in made.opened:
            await keys.close()


KINDS = ("sts", "container", "instance")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_is_kept_and_renewed_before_its_end(world: World, kind: str) -> None:
    keys = world.keys(kind)
    assert await keys.current() == Key("key-1", "hidden-1", "session")
    world.issuers.now += 3299
    assert (await keys.current()).id == "key-1"
    world.issuers.now += 1
    assert (await keys.current()).id == "key-2"


@pytest.mark.parametrize("kind", KINDS)
async def test_while_an_issuer_is_away_the_last_key_is_used_to_its_end(world: World, kind: str) -> None:
    keys = world.keys(kind)
    await keys.current()
    world.issuers.failures = dict.fromkeys(("sts", "container", "session"), 503)
    world.issuers.now += 3599
    assert (await keys.current()).id == "key-1"
    world.issuers.now += 1
    with pytest.raises(UnexpectedStatus, match=r"status 503$"):
        await keys.current()


async def test_an_instance_is_asked_by_version_two_alone(world: World) -> None:
    await world.keys("instance").current()
    assert world.issuers.asked == ["session", "role", "instance"]
    world.issuers.failures["session"] = 403
    with pytest.raises(UnexpectedStatus, match="no session: status 403: it is switched off; enable it in the"):
        await world.keys("instance").current()
    assert world.issuers.asked[3:] == ["session"]


@pytest.mark.parametrize("kind", ["sts", "container"])
async def test_a_token_file_that_is_renewed_is_read_again(world: World, kind: str) -> None:
    keys = world.keys(kind)
    await keys.current()
    world.issuers.web_token = world.issuers.agent_token = "next"
    world.issuers.now += 3600
    with pytest.raises(UnexpectedStatus) as told:
        await keys.current()
    assert WEB_TOKEN not in str(told.value)
    assert AGENT_TOKEN not in str(told.value)
    world.web_token.write_text("next")
    world.agent_token.write_text("next")
    assert (await keys.current()).id == "key-2"


async def test_the_agents_token_may_be_in_the_environment(world: World) -> None:
    world.env.delenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    world.env.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", AGENT_TOKEN)
    assert (await world.keys("container").current()).id == "key-1"


HOP = "did not answer within 0.1 s; in a container, the instance's metadata options need a hop limit of 2$"


@pytest.mark.parametrize(
    ("kind", "what", "message"),
    [
        ("sts", "sts", "did not answer within 0.1 s$"),
        ("container", "container", "did not answer within 0.1 s$"),
        ("instance", "session", HOP),
        ("instance", "role", "did not answer within 0.1 s$"),
    ],
)
async def test_an_issuer_that_hangs_is_given_up(world: World, kind: str, what: str, message: str) -> None:
    async def hanging(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    world.issuers.failures = {what: hanging}
    with pytest.raises(ScrapeError, match=message):
        await world.keys(kind, 0.1).current()


@pytest.mark.parametrize(("kind", "what"), [("sts", "sts"), ("container", "container"), ("instance", "session")])
async def test_a_redirect_is_not_followed_and_a_flood_is_cut(world: World, kind: str, what: str) -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://127.0.0.2:1/latest/api/token"})

    async def flood(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100_000)

    world.issuers.failures = {what: elsewhere}
    with pytest.raises(UnexpectedStatus, match="status 307"):
        await world.keys(kind).current()
    world.issuers.failures = {what: flood}
    with pytest.raises(BodyTooLarge):
        await world.keys(kind).current()


@pytest.mark.parametrize(
    ("kind", "what", "status", "message"),
    [
        ("sts", "sts", 429, "too many requests"),
        ("container", "container", 429, "too many requests"),
        ("container", "container", 401, "still associated with a role"),
        ("instance", "session", 429, "too many requests"),
        ("instance", "role", 404, "attach a role .instance profile. to the instance"),
        (
            "instance",
            "instance",
            500,
            "the metadata service of this instance: no key of the role llm-reader: status 500",
        ),
    ],
)
async def test_a_refusal_names_the_cure(world: World, kind: str, what: str, status: int, message: str) -> None:
    world.issuers.failures = {what: status}
    with pytest.raises(UnexpectedStatus, match=message) as told:
        await world.keys(kind).current()
    assert WEB_TOKEN not in str(told.value)


@pytest.mark.parametrize(
    ("code", "status", "cure"),
    [
        ("AccessDenied", 403, "the trust policy of the role does not allow this identity"),
        ("InvalidIdentityToken", 400, "no identity provider .OIDC. for the issuer"),
        ("ExpiredTokenException", 400, "the token in the file has expired"),
        ("Throttling", 400, "too many requests"),
        ("<b>", 400, "AssumeRoleWithWebIdentity: status 400$"),
    ],
)
async def test_the_words_of_the_token_service(world: World, code: str, status: int, cure: str) -> None:
    async def refusing(request: web.Request) -> web.Response:
        return sts_refusal(code, status)

    world.issuers.failures = {"sts": refusing}
    with pytest.raises(UnexpectedStatus, match=cure) as told:
        await world.keys("sts").current()
    assert WEB_TOKEN not in str(told.value)


GARBAGE = ["", "<html>", "[]", "{}", '{"AccessKeyId": "a\\nb", "SecretAccessKey": "hidden", "Token": "t"}']
GIVEN = (
    "<Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>t</SessionToken>"
    "<Expiration>2026-11-28T11:00:00Z</Expiration></Credentials>"
)
ENDLESS = '{"AccessKeyId": "a", "SecretAccessKey": "hidden", "Token": "t", "Expiration": "soon"}'


@pytest.mark.parametrize("text", [*GARBAGE, ENDLESS])
@pytest.mark.parametrize(("kind", "what"), [("sts", "sts"), ("container", "container"), ("instance", "instance")])
async def test_garbage_is_told_and_not_shown(world: World, kind: str, what: str, text: str) -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.Response(text=text)

    world.issuers.failures = {what: answering}
    with pytest.raises(ScrapeError) as told:
        await world.keys(kind).current()
    assert told.value.reason == "malformed"
    assert "hidden" not in str(told.value)


@pytest.mark.parametrize("secret", ["a\nb", "a b", "a&lt;b", "", "x" * 20_001, "é"])
async def test_a_secret_with_a_character_that_no_secret_has_is_refused(world: World, secret: str) -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.Response(text=GIVEN % secret, content_type="text/xml")

    world.issuers.failures = {"sts": answering}
    with pytest.raises(ExpositionError, match="AssumeRoleWithWebIdentity: the answer has no credentials"):
        await world.keys("sts").current()


async def test_a_secret_has_all_characters_of_base64(world: World) -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.Response(text=GIVEN % "aB0+/==", content_type="text/xml")

    world.issuers.failures = {"sts": answering}
    assert (await world.keys("sts").current()).secret == "aB0+/=="


async def test_a_key_that_has_ended_is_not_used(world: World) -> None:
    world.issuers.lasts_s = -60.0
    with pytest.raises(UnexpectedStatus, match="has ended; is this host's clock right"):
        await world.keys("instance").current()


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        ("sts", "AWS_ROLE_ARN", "", "AWS_ROLE_ARN is not set in the environment; EKS sets it for a pod"),
        ("sts", "AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere", "cannot read the token file /nowhere: No such file"),
        ("container", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "", "FULL_URI is not set in the environment; EKS sets it"),
        (
            "container",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://example.com/x",
            "names example.com without TLS; only this host and its own link",
        ),
        ("container", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@evil", "does not begin with /"),
        ("instance", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://example.com", "names example.com without TLS"),
    ],
)
async def test_an_incomplete_environment_is_told(world: World, kind: str, name: str, value: str, message: str) -> None:
    world.env.setenv(name, value)
    with pytest.raises(ScrapeError, match=message):
        await world.keys(kind).current()


async def test_an_empty_token_file_and_one_of_many_lines_are_told_without_their_text(world: World) -> None:
    for text, message in ((" \n", "is empty"), ("hidden\nlines", "holds a line break")):
        world.web_token.write_text(text)
        with pytest.raises(ScrapeError, match=message) as told:
            await world.keys("sts").current()
        assert "hidden" not in str(told.value)


async def test_a_meter_signs_with_the_key_of_the_instance_and_takes_another_when_it_is_refused(world: World) -> None:
    keys = [(KEY_ID + "OLD", "old"), (KEY_ID, SECRET)]

    async def next_key(request: web.Request) -> web.Response:
        key, secret = keys.pop(0)
        told = {"AccessKeyId": key, "SecretAccessKey": secret, "Token": "s1", "Expiration": "2026-11-28T16:00:00Z"}
        return web.json_response({"Code": "Success", **told})

    world.issuers.failures = {"instance": next_key}
    async with FakeAws() as aws:
        aws.now, aws.token = world.issuers.now, "s1"
        place = AwsPlace(REGION, KeyPlace(), identity="instance")
        meter = aws_meter("bedrock", aws.url, place, wall=lambda: aws.now)
        assert await meter.read(Span(moment("2026-11-01T00:00"), aws.now - 600, aws.now)) == []
        assert aws.asked == ["ListMetrics", "ListMetrics"]
        await meter.close()


def test_each_place_is_named_in_messages() -> None:
    made: list[AwsKeys] = [WebIdentityKeys("https://sts", None), ContainerKeys(), InstanceKeys()]
    assert [str(each) for each in made] == [
        "the role of AWS_ROLE_ARN",
        "the role of this container",
        "the role of this instance",
    ]
