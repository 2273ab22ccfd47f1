"""A fake of all who give identities without keys, over their own protocols, able to misbehave.

AWS's Security Token Service, the metadata service of EC2 (version 2 alone) and the agents of containers; Azure's
metadata service and App Service; Google's metadata server and its exchange of tokens. Each credential is another.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.fakes.served import Served

ROLE, ROLE_ARN = "llm-reader", "arn:aws:iam::1:role/llm-reader"
WEB_TOKEN, AGENT_TOKEN, APP_HEADER = "web.token.1", "agent-token-1", "app-header-1"
POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k"
ACCOUNT = "reader@p.iam.gserviceaccount.com"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
_XML = (
    '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{id}</AccessKeyId>"
    "<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>"
    "<Expiration>{until}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
    "</AssumeRoleWithWebIdentityResponse>"
)


class FakeIssuers(Served):
    """One server on a free loopback port: `async with FakeIssuers() as issuers`."""

    def __init__(self) -> None:
        self.now = 0.0
        """The issuers' clock in unix seconds."""
        self.lasts_s = 3600.0
        self.web_token = WEB_TOKEN
        """The token of the other issuer that is accepted."""
        self.agent_token = AGENT_TOKEN
        self.failures: dict[str, Answer | int] = {}
        """What is asked -> status, or what answers instead."""
        self.asked: list[str] = []
        self.seen: list[web.BaseRequest] = []
        self.given = 0
        """Number of credentials: the last one is key-N or token-N."""

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._watched])
        roles = "/latest/meta-data/iam/security-credentials/"
        app.router.add_put("/latest/api/token", self._session, name="session")
        app.router.add_get(roles, self._role, name="role")
        app.router.add_get(roles + ROLE, self._instance_key, name="instance")
        app.router.add_get("/v1/credentials", self._container_key, name="container")
        app.router.add_post("/", self._web_identity, name="sts")
        app.router.add_get("/metadata/identity/oauth2/token", self._azure, name="azure")
        app.router.add_get("/msi/token", self._app_service, name="app")
        metadata = "/computeMetadata/v1/instance/service-accounts/default/token"
        app.router.add_get(metadata, self._google, name="google")
        app.router.add_post("/v1/token", self._exchange, name="exchange")
        app.router.add_post("/impersonate", self._impersonate, name="impersonate")
        return app

    @property
    def _watched(self) -> Any:
        @web.middleware
        async def watched(request: web.Request, handler: Answer) -> web.StreamResponse:
            name = request.match_info.route.name or "unknown"
            self.asked.append(name)
            self.seen.append(request)
            failure = self.failures.get(name)
            if isinstance(failure, int):
                return web.Response(status=failure, text=json.dumps({"error": f"refused {WEB_TOKEN}"}))
            return await failure(request) if failure else await handler(request)

        return watched

    def _key(self, **more: str) -> dict[str, str]:
        self.given += 1
        until = datetime.fromtimestamp(self.now + self.lasts_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        names = {"AccessKeyId": f"key-{self.given}", "SecretAccessKey": f"hidden-{self.given}", "Token": "session"}
        return {**names, "Expiration": until, **more}

    def _token(self) -> str:
        self.given += 1
        return f"token-{self.given}"

    async def _session(self, request: web.Request) -> web.StreamResponse:
        assert 1 <= int(request.headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21_600
        return web.Response(text="session-token")

    async def _role(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-aws-ec2-metadata-token") != "session-token":
            return web.Response(status=401)
        return web.Response(text=ROLE)

    async def _instance_key(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-aws-ec2-metadata-token") != "session-token":
            return web.Response(status=401)
        return web.json_response(self._key(Code="Success", Type="AWS-HMAC"))

    async def _container_key(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != self.agent_token:
            return web.json_response({"code": "AccessDenied", "message": self.agent_token}, status=401)
        return web.json_response(self._key(RoleArn=ROLE_ARN))

    async def _web_identity(self, request: web.Request) -> web.StreamResponse:
        form = dict(await request.post())
        assert (form["Action"], form["Version"]) == ("AssumeRoleWithWebIdentity", "2011-06-15")
        assert "Authorization" not in request.headers  # the token is the proof
        if form["RoleArn"] != ROLE_ARN:
            return sts_refusal("AccessDenied", 403)
        if form["WebIdentityToken"] != self.web_token:
            return sts_refusal("ExpiredTokenException", 400)
        key = self._key()
        body = _XML.format(
            id=key["AccessKeyId"], secret=key["SecretAccessKey"], token=key["Token"], until=key["Expiration"]
        )
        return web.Response(text=body, content_type="text/xml")

    async def _azure(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Metadata") != "true":
            return web.Response(status=400)
        assert request.query["api-version"] == "2018-02-01"
        return web.json_response({"access_token": self._token(), "expires_in": str(int(self.lasts_s)), "resource": ""})

    async def _app_service(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-IDENTITY-HEADER") != APP_HEADER:
            return web.Response(status=401)
        assert request.query["api-version"] == "2019-08-01"
        return web.json_response({"access_token": self._token(), "expires_on": str(int(self.now + self.lasts_s))})

    async def _google(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Metadata-Flavor") != "Google":
            return web.Response(status=403)
        told = {"access_token": self._token(), "expires_in": int(self.lasts_s), "token_type": "Bearer"}
        return web.json_response(told, headers={"Metadata-Flavor": "Google"})

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        form = dict(await request.post())
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
        assert form["subject_token_type"] == "urn:ietf:params:oauth:token-type:jwt"
        if form["audience"] != POOL:
            return web.json_response({"error": "invalid_target"}, status=400)
        if form["subject_token"] != self.web_token:
            told = f"The token {form['subject_token']!s} has expired."
            return web.json_response({"error": "invalid_grant", "error_description": told}, status=400)
        return web.json_response({"access_token": self._token(), "expires_in": int(self.lasts_s)})

    async def _impersonate(self, request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] != f"Bearer token-{self.given}":
            return web.json_response({"error": {"code": 403}}, status=403)
        asked = await request.json()
        until = datetime.fromtimestamp(self.now + int(asked["lifetime"].removesuffix("s")), UTC)
        return web.json_response({"accessToken": self._token(), "expireTime": until.strftime("%Y-%m-%dT%H:%M:%SZ")})


def sts_refusal(code: str, status: int) -> web.Response:
    """Return an error as the Security Token Service has it."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{WEB_TOKEN}</Message></Error>"
    text = f"<ErrorResponse>{error}</ErrorResponse>"
    return web.Response(status=status, text=text, content_type="text/xml")
