"""A fake Azure: the identity platform's tokens and Azure Monitor's metrics of one resource, able to misbehave."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from yarl import URL

from tests.fakes.served import Served

TENANT, CLIENT, SECRET = "tenant-1", "client-1", "azure~secret"
RESOURCE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"
PERIODS = {"PT5M": 300, "PT1H": 3600}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class FakeAzure(Served):
    """One server on a free loopback port: `async with FakeAzure() as azure`."""

    def __init__(self) -> None:
        self.minutes: dict[tuple[str, tuple[tuple[str, str], ...]], dict[float, float]] = {}
        """(metric, dimensions) -> numbers by their time."""
        self.good: set[str] = set()
        """Tokens that are accepted."""
        self.assertion = ""
        """A workload's own token that is federated with the application; "": there is none."""
        self.costs: dict[str, dict[str, float]] = {}
        """Dollars by meter, by day such as 2026-11-01."""
        self.deployments: list[dict[str, Any]] = []
        """Deployments as the management API has them."""
        self.page = 1000
        """Rows in a page of costs."""
        self.next_host = ""
        """Base of the address of the next page; "": this server."""
        self.lasts_s = 3599
        self.failures: dict[str, Answer | int] = {}
        """token or metrics -> status, or what answers instead."""
        self.asked: list[str] = []
        self.queries: list[dict[str, str]] = []

    def count(self, metric: str, model: str, at: float, total: float, status: str = "") -> None:
        """Add a number of one minute."""
        names = (("modeldeploymentname", model), *((("statuscode", status),) if status else ()))
        self.minutes.setdefault((metric, names), {})[at] = total

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(f"/{TENANT}/oauth2/v2.0/token", self._token)
        app.router.add_get(f"{RESOURCE}/providers/Microsoft.Insights/metrics", self._metrics)
        app.router.add_get(f"{RESOURCE}/deployments", self._deployments)
        group = RESOURCE.partition("/providers/")[0]
        app.router.add_post(f"{group}/providers/Microsoft.CostManagement/query", self._costs)
        return app

    async def _token(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("token")
        if failed := await self._failure("token", request):
            return failed
        form = dict(await request.post())
        assert (form["grant_type"], form["scope"]) == ("client_credentials", f"{self.url}/.default")
        if "client_assertion" in form:
            assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            if (form["client_id"], form["client_assertion"]) != (CLIENT, self.assertion):
                told = f"AADSTS700213: No matching federated identity record found for {form['client_assertion']!s}"
                return web.json_response({"error": "invalid_client", "error_description": told}, status=401)
        elif (form["client_id"], form["client_secret"]) != (CLIENT, SECRET):
            told = f"AADSTS7000215: Invalid client secret provided: {form['client_secret']!s}"
            return web.json_response({"error": "invalid_client", "error_description": told}, status=401)
        token = f"token-{len(self.asked)}"
        self.good.add(token)
        return web.json_response({"token_type": "Bearer", "expires_in": self.lasts_s, "access_token": token})

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("metrics")
        query = dict(request.query)
        self.queries.append(query)
        if failed := await self._failure("metrics", request):
            return failed
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.good:
            return web.json_response({"error": {"code": "ExpiredAuthenticationToken"}}, status=401)
        start, end = (datetime.fromisoformat(each).timestamp() for each in query["timespan"].split("/"))
        wanted = query["metricnames"].split(",")
        value = [
            {"name": {"value": name}, "errorCode": "Success", "timeseries": self._series(name, query, start, end)}
            for name in wanted
        ]
        return web.json_response({"interval": query["interval"], "value": value})

    def _series(self, name: str, query: dict[str, str], start: float, end: float) -> list[dict[str, Any]]:
        period = PERIODS[query["interval"]]
        found: list[dict[str, Any]] = []
        for (metric, names), minutes in self.minutes.items():
            places = range(0, int(end - start), period) if metric == name else ()
            sums: dict[float, float | None] = {start + at: None for at in places}
            for at, total in minutes.items():
                if metric == name and start <= at < end:
                    place = at - at % period
                    sums[place] = (sums[place] or 0.0) + total
            if any(value is not None for value in sums.values()):
                data = [{"timeStamp": _text(at), **({} if v is None else {"total": v})} for at, v in sums.items()]
                labels = [{"name": {"value": each}, "value": value} for each, value in names]
                found.append({"metadatavalues": labels, "data": data})
        return found[: int(query["top"])]

    async def _deployments(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("deployments")
        if failed := await self._failure("deployments", request):
            return failed
        assert request.query["api-version"] == "2023-05-01"
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.good:
            return web.json_response({"error": {"code": "ExpiredAuthenticationToken"}}, status=401)
        return web.json_response({"value": self.deployments})

    async def _costs(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("costs")
        if failed := await self._failure("costs", request):
            return failed
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.good:
            return web.json_response({"error": {"code": "ExpiredAuthenticationToken"}}, status=401)
        asked = await request.json()
        wanted = {"name": "ResourceId", "operator": "In", "values": [RESOURCE.lower()]}
        assert (request.query["api-version"], asked["type"]) == ("2023-11-01", "ActualCost")
        assert (asked["dataset"]["granularity"], asked["dataset"]["filter"]) == ("Daily", {"dimensions": wanted})
        period = asked["timePeriod"]
        rows = [
            [dollars, int(day.replace("-", "")), meter, "EUR"]
            for day, meters in sorted(self.costs.items())
            if period["from"][:10] <= day <= period["to"][:10]
            for meter, dollars in meters.items()
        ]
        first = int(request.query.get("$skiptoken", "0"))
        more = request.url.update_query({"$skiptoken": str(first + self.page)}) if first + self.page < len(rows) else ""
        columns = [{"name": name} for name in ("CostUSD", "UsageDate", "Meter", "Currency")]
        link = f"{self.next_host}{URL(more).raw_path_qs}" if more and self.next_host else str(more)
        found = {"nextLink": link or None, "columns": columns, "rows": rows[first : first + self.page]}
        return web.json_response({"properties": found})

    async def _failure(self, what: str, request: web.Request) -> web.StreamResponse | None:
        failure = self.failures.get(what)
        if isinstance(failure, int):
            return web.Response(status=failure, text=json.dumps({"error": {"code": "No", "message": SECRET}}))
        return await failure(request) if failure else None


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
