"""A fake Google: tokens for a service account's signed questions, and Cloud Monitoring's metrics, able to misbehave."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.fakes.served import Served

PROJECT, ACCOUNT = "my-project", "watcher@my-project.iam.gserviceaccount.com"
TABLE = "billing.export.gcp_billing_export_v1_1"
PREFIX = "aiplatform.googleapis.com/publisher/online_serving/"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeGoogle(Served):
    """One server on a free loopback port: `async with FakeGoogle() as google`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.minutes: dict[tuple[str, str, str], dict[float, tuple[float, float]]] = {}
        """(metric, model, value of its label) -> count and mean by their time; the mean is of distributions."""
        self.costs: dict[str, dict[str, float]] = {}
        """Dollars by SKU, by day such as 2026-11-01."""
        self.slow = 0
        """Answers of BigQuery before a query is done."""
        self.may_query = False
        self.page = 100
        self.good: set[str] = set()
        self.failures: dict[str, Answer | int] = {}
        """token or metrics -> status, or what answers instead."""
        self.asked: list[str] = []
        self.queries: list[list[tuple[str, str]]] = []
        self._key = generate_private_key(65537, 2048)

    def count(self, metric: str, model: str, label: str, at: float, count: float, mean: float = 0.0) -> None:
        """Add a number of one minute."""
        self.minutes.setdefault((metric, model, label), {})[at] = (count, mean)

    def write_key(self, file: Path) -> None:
        """Write the key file of the service account."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        found = {"type": "service_account", "private_key_id": "k1", "private_key": pem, "client_email": ACCOUNT}
        file.write_text(json.dumps({**found, "token_uri": f"{self.url}/token"}))

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_get(f"/v3/projects/{PROJECT}/timeSeries", self._metrics)
        app.router.add_post(f"/bigquery/v2/projects/{PROJECT}/queries", self._query)
        app.router.add_get(f"/bigquery/v2/projects/{PROJECT}/queries/job-1", self._query_page)
        return app

    async def _token(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("token")
        if failed := await self._failure("token", request):
            return failed
        form = dict(await request.post())
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        text, _, signature = str(form["assertion"]).rpartition(".")
        self._key.public_key().verify(_decoded(signature), text.encode(), PKCS1v15(), SHA256())
        header, claims = (json.loads(_decoded(part)) for part in text.split("."))
        assert header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
        assert (claims["iss"], claims["aud"]) == (ACCOUNT, f"{self.url}/token")
        scopes = claims["scope"].split()
        assert scopes[0] == "https://www.googleapis.com/auth/monitoring.read"
        self.may_query = scopes[1:] == ["https://www.googleapis.com/auth/bigquery"]
        if not claims["iat"] - 300 <= self.now < claims["exp"] <= claims["iat"] + 3600:
            told = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
            return web.json_response({"error": "invalid_grant", "error_description": told}, status=400)
        token = f"token-{len(self.asked)}"
        self.good.add(token)
        return web.json_response({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("metrics")
        self.queries.append(list(request.query.items()))
        if failed := await self._failure("metrics", request):
            return failed
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.good:
            return web.json_response({"error": {"code": 401, "status": "UNAUTHENTICATED"}}, status=401)
        assert request.query["aggregation.perSeriesAligner"] == "ALIGN_DELTA"
        metric = request.query["filter"].removeprefix(f'metric.type = "{PREFIX}').rstrip('"')
        rows = [self._series(key, minutes, request) for key, minutes in self.minutes.items() if key[0] == metric]
        first = int(request.query.get("pageToken", "p0").removeprefix("p"))
        more = {"nextPageToken": f"p{first + self.page}"} if first + self.page < len(rows) else {}
        return web.json_response({"timeSeries": rows[first : first + self.page], "unit": "1", **more})

    async def _query(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("query")
        if failed := await self._failure("query", request):
            return failed
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.good or not self.may_query:
            return web.json_response({"error": {"code": 401}}, status=401)
        asked = await request.json()
        assert (asked["useLegacySql"], asked["parameterMode"], asked["maximumBytesBilled"]) == (
            False,
            "NAMED",
            "10737418240",
        )
        assert f"FROM `{TABLE}`" in asked["query"]
        given = {each["name"]: each["parameterValue"]["value"] for each in asked["queryParameters"]}
        assert given["project"] == PROJECT
        self.month = given["month"][:10]
        return await self._query_page(request)

    async def _query_page(self, request: web.Request) -> web.StreamResponse:
        job = {"jobReference": {"jobId": "job-1", "location": "EU"}}
        if request.method == "GET":
            self.asked.append("page")
            assert request.query["location"] == "EU"
            if failed := await self._failure("page", request):
                return failed
        if self.slow:
            self.slow -= 1
            return web.json_response({"jobComplete": False, **job})
        rows = [
            {"f": [{"v": day}, {"v": sku}, {"v": str(usd)}]}
            for day, skus in sorted(self.costs.items())
            if day >= self.month
            for sku, usd in skus.items()
        ]
        first = int(request.query.get("pageToken", "r0").removeprefix("r"))
        more = {"pageToken": f"r{first + self.page}"} if first + self.page < len(rows) else {}
        fields = [{"name": name} for name in ("day", "sku", "usd")]
        found = {"schema": {"fields": fields}, "rows": rows[first : first + self.page]}
        return web.json_response({"jobComplete": True, **job, **found, **more})

    def _series(
        self, key: tuple[str, str, str], minutes: dict[float, tuple[float, float]], request: web.Request
    ) -> dict[str, Any]:
        period = int(request.query["aggregation.alignmentPeriod"].removesuffix("s"))
        start, end = (
            datetime.fromisoformat(request.query[f"interval.{each}Time"]).timestamp() for each in ("start", "end")
        )
        metric, model, label = key
        groups = request.query.getall("aggregation.groupByFields")
        named = {each.rpartition(".")[2]: label for each in groups if each.startswith("metric.label.")}
        points = []
        for place in sorted({at - at % period for at in minutes if start <= at < end}, reverse=True):
            inside = [found for at, found in minutes.items() if place <= at < place + period]
            count = sum(each for each, _ in inside)
            mean = sum(each * mean for each, mean in inside) / count
            value = {"distributionValue": {"count": str(int(count)), "mean": mean}}
            points.append(
                {
                    "interval": {"startTime": _text(place), "endTime": _text(place + period)},
                    "value": {"int64Value": str(int(count))} if named else value,
                }
            )
        resource = {"type": "aiplatform.googleapis.com/PublisherModel", "labels": {"model_user_id": model}}
        return {"metric": {"type": PREFIX + metric, "labels": named}, "resource": resource, "points": points}

    async def _failure(self, what: str, request: web.Request) -> web.StreamResponse | None:
        failure = self.failures.get(what)
        if isinstance(failure, int):
            return web.Response(status=failure, text=json.dumps({"error": {"status": "No"}}))
        return await failure(request) if failure else None


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
