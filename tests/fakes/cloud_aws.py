"""A fake AWS in one region: CloudWatch and SageMaker over their JSON protocol, able to misbehave.

Requests are refused unless their signature, region and time are right, with the errors that AWS gives.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, NamedTuple

from aiohttp import web

from tests.fakes.served import Served

KEY_ID, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "eu-west-1"
TARGETS = {
    "GraniteServiceVersion20100801": "monitoring",
    "SageMaker": "sagemaker",
    "AWSInsightsIndexService": "ce",
    "ServiceQuotasV20190624": "servicequotas",
}
COSTS, QUOTA = "GetCostAndUsage", "GetServiceQuota"
Answer = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]


class Series(NamedTuple):
    """One series of CloudWatch, by its namespace, name and dimensions (name=value, …)."""

    namespace: str
    metric: str
    dimensions: str


def refusal(code: str, message: str = "", status: int = 400, /, **headers: str) -> web.Response:
    """Return an error as AWS's JSON protocol has it."""
    body = {"__type": f"com.amazonaws.example#{code}", "message": message}
    return web.json_response(body, status=status, headers=headers)


class FakeAws(Served):
    """One server on a free loopback port: `async with FakeAws() as aws`."""

    def __init__(self) -> None:
        self.now = 0.0
        """AWS's clock in unix seconds."""
        self.minutes: dict[Series, dict[float, tuple[float, int]]] = {}
        """Numbers by their time: sum and count of samples."""
        self.endpoints: dict[str, str] = {}
        self.costs: dict[str, dict[str, str]] = {}
        """Dollars by service, by day such as 2026-11-01."""
        self.quotas: dict[str, tuple[str, float]] = {}
        """Name and value of quotas by their code."""
        self.unit = "USD"
        self.token = ""
        """Session token that belongs to the key; "": it has none."""
        self.page = 100
        """Numbers in a page of GetMetricData, series or endpoints in a page of the lists."""
        self.failures: dict[str, Answer | str] = {}
        """Action -> code of an error, or what answers instead."""
        self.status_code = "Complete"
        """State of the last page's results."""
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    def count(self, series: Series, at: float, total: float, samples: int = 1) -> None:
        """Add a number of one minute."""
        self.minutes.setdefault(series, {})[at] = (total, samples)

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        target, _, action = request.headers["X-Amz-Target"].partition(".")
        body = await request.read()
        self.asked.append(action)
        if refused := self._refused(request, body, TARGETS[target]):
            refused.headers["Date"] = format_datetime(datetime.fromtimestamp(self.now, UTC), usegmt=True)
            return refused
        asked = json.loads(body)
        self.bodies.append(asked)
        failure = self.failures.get(action)
        if isinstance(failure, str):
            return refusal(failure, f"User: arn:aws:iam::1:user/a is not authorized; token {self.token}")
        if failure:
            return await failure(asked)
        answers = {
            "ListMetrics": self._metrics,
            "GetMetricData": self._data,
            "ListEndpoints": self._listed,
            COSTS: self._costs,
            QUOTA: self._quota,
        }
        if action == QUOTA and asked["QuotaCode"] not in self.quotas:
            return refusal("NoSuchResourceException")
        return web.json_response(answers[action](asked))

    def _refused(self, request: web.Request, body: bytes, service: str) -> web.Response | None:
        fields = dict(part.split("=", 1) for part in request.headers["Authorization"].partition(" ")[2].split(", "))
        key, date, region, named, _ = fields["Credential"].split("/")
        if key != KEY_ID or request.headers.get("X-Amz-Security-Token", "") != self.token:
            return refusal("UnrecognizedClientException", "The security token included in the request is invalid.")
        at = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(at.timestamp() - self.now) > 300:
            return refusal("InvalidSignatureException", f"Signature expired: {at} is now earlier than …")
        if (region, named) != ("us-east-1" if service == "ce" else REGION, service):
            return refusal(
                "InvalidSignatureException", f"Credential should be scoped to a valid region, not '{region}'."
            )
        names = fields["SignedHeaders"].split(";")
        assert {"host", "x-amz-date", "x-amz-target"} <= set(names)
        lines = "".join(f"{name}:{request.headers[name]}\n" for name in names)
        whole = f"POST\n/\n\n{lines}\n{fields['SignedHeaders']}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{date}/{region}/{named}/aws4_request"
        text = (
            f"AWS4-HMAC-SHA256\n{request.headers['X-Amz-Date']}\n{scope}\n{hashlib.sha256(whole.encode()).hexdigest()}"
        )
        made = f"AWS4{SECRET}".encode()
        for part in (date, region, named, "aws4_request", text):
            made = hmac.new(made, part.encode(), hashlib.sha256).digest()
        return None if made.hex() == fields["Signature"] else refusal("InvalidSignatureException", "does not match")

    def _paged(self, rows: list[Any], asked: dict[str, Any]) -> tuple[list[Any], dict[str, str]]:
        first = int(asked.get("NextToken", "p0").removeprefix("p"))
        more = first + self.page < len(rows)
        return rows[first : first + self.page], {"NextToken": f"p{first + self.page}"} if more else {}

    def _metrics(self, asked: dict[str, Any]) -> dict[str, Any]:
        rows = [
            {"Namespace": each.namespace, "MetricName": each.metric, "Dimensions": _dimensions(each)}
            for each in self.minutes
            if each.namespace == asked["Namespace"]
        ]
        shown, more = self._paged(rows, asked)
        return {"Metrics": shown, **more}

    def _costs(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert (asked["Granularity"], asked["Metrics"]) == ("DAILY", ["UnblendedCost"])
        span = asked["TimePeriod"]
        days = [day for day in sorted(self.costs) if span["Start"] <= day < span["End"]]
        first = int(asked.get("NextPageToken", "p0").removeprefix("p"))
        rows = [
            {
                "TimePeriod": {"Start": day},
                "Groups": [
                    {"Keys": [name], "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": self.unit}}}
                    for name, amount in self.costs[day].items()
                ],
            }
            for day in days[first : first + self.page]
        ]
        more = {"NextPageToken": f"p{first + self.page}"} if first + self.page < len(days) else {}
        return {"ResultsByTime": rows, **more}

    def _quota(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["ServiceCode"] == "bedrock"
        name, value = self.quotas[asked["QuotaCode"]]
        return {"Quota": {"QuotaCode": asked["QuotaCode"], "QuotaName": name, "Value": value, "Unit": "None"}}

    def _listed(self, asked: dict[str, Any]) -> dict[str, Any]:
        rows = [{"EndpointName": name, "EndpointStatus": state} for name, state in self.endpoints.items()]
        shown, more = self._paged(rows, asked)
        return {"Endpoints": shown, **more}

    def _data(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert len(asked["MetricDataQueries"]) <= 500
        rows = [row for query in asked["MetricDataQueries"] for row in self._numbers(query, asked)]
        shown, more = self._paged(rows, asked)
        results: dict[str, dict[str, Any]] = {
            query["Id"]: {"Id": query["Id"], "Timestamps": [], "Values": []} for query in asked["MetricDataQueries"]
        }
        for name, at, value in shown:
            results[name]["Timestamps"].append(at)
            results[name]["Values"].append(value)
        for result in results.values():
            result["StatusCode"] = "PartialData" if more else self.status_code
        return {"MetricDataResults": list(results.values()), **more}

    def _numbers(self, query: dict[str, Any], asked: dict[str, Any]) -> list[tuple[str, float, float]]:
        stat = query["MetricStat"]
        metric, period = stat["Metric"], stat["Period"]
        named = ",".join(f"{each['Name']}={each['Value']}" for each in metric["Dimensions"])
        minutes = self.minutes[Series(metric["Namespace"], metric["MetricName"], named)]
        sums: dict[float, tuple[float, int]] = {}
        for at, (total, samples) in sorted(minutes.items()):
            if asked["StartTime"] <= at < asked["EndTime"]:
                start = at - at % period
                before = sums.get(start, (0.0, 0))
                sums[start] = (before[0] + total, before[1] + samples)
        of: dict[str, Callable[[float, int], float]]
        of = {"Sum": lambda t, n: t, "SampleCount": lambda t, n: n, "Average": lambda t, n: t / n}
        return [(query["Id"], at, of[stat["Stat"]](*found)) for at, found in sums.items()]


def _dimensions(series: Series) -> list[dict[str, str]]:
    parts = [each.partition("=") for each in series.dimensions.split(",")]
    return [{"Name": name, "Value": value} for name, _, value in parts]
