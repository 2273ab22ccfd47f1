"""The dashboard of the gateways and their tenants."""

from __future__ import annotations

from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.common import ERRORS, FAILED, heat, quantiles, rate, ratio
from dashboards.boards.proxies import proxies
from dashboards.panels import YELLOW, Bars, Heat, Limit, Lines, Number, Query
from dashboards.settings import Settings

_MODEL = chosen("model")
_SEEN = ('source="gateway"', _MODEL)
_VERSION = "{{model}} {{version}}"
_OWN = "controlplane_gateway_"


def gateway(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-gateway",
        title="LLM gateway and tenants",
        description="What clients see at our gateways: requests, refusals, queues, backends, and the tenants' shares.",
        variables={
            "model": values_of("llm_requests_total", "model", 'source=~"gateway|proxy"'),
            "tenant": values_of("controlplane_gateway_tenant_requests_total", "tenant"),
        },
        sections=[_now(settings), _requests(settings), _backends(), _tenants(), proxies(settings), _process()],
    )


def _now(settings: Settings) -> Section:
    return "Now", [
        Number(
            title="Gateways silent",
            description="Gateways that have not reported within ten seconds, and did not end in order.",
            queries=[Query(f"count(max by (gateway) ({_OWN}live{select()}) == 0) or vector(0)")],
            unit="none",
            limits=[Limit(1)],
        ),
        Number(
            title="Models behind",
            description="Models whose assigned weights are not applied by every live gateway.",
            queries=[Query(f"count(max by (model) ({_OWN}behind{select(_MODEL)}) == 1) or vector(0)")],
            unit="none",
            limits=[Limit(1)],
        ),
        Number(
            title="Requests per second",
            description="Finished requests of clients.",
            queries=[Query(f"sum({rate('llm_requests_total', 'model', *_SEEN)})")],
            unit="reqps",
        ),
        Number(
            title="Errors",
            description="Errors, rejections and answers that broke off, as a share of all. Red is the limit of "
            "LLMErrorRateHigh, which looks at each version.",
            queries=[
                Query(
                    f"sum({rate('llm_requests_total', 'model', ERRORS, *_SEEN)}) "
                    f"/ (sum({rate('llm_requests_total', 'model', *_SEEN)}) > 0)"
                )
            ],
            unit="percentunit",
            limits=[Limit(settings.limit("error_rate"))],
        ),
        Number(
            title="Open connections",
            description="Connections of clients to all gateways.",
            queries=[Query(f"sum({_OWN}connections{select()})")],
            unit="none",
        ),
        Number(
            title="Waiting",
            description="Requests in the gateways' queues.",
            queries=[Query(f"sum(llm_requests_waiting{select(*_SEEN)})")],
            unit="none",
            limits=[Limit(settings.limit("gateway_queue"), YELLOW)],
        ),
    ]


def _requests(settings: Settings) -> Section:
    return "Requests", [
        Lines(
            title="Requests per second by outcome",
            description="`aborted`: the client left. `cut`: an answer broke off. `rejected`: no engine could take it.",
            queries=[Query(rate("llm_requests_total", "model, outcome", *_SEEN), "{{model}} {{outcome}}")],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Refused by the gateway itself",
            description="Requests per second by kind: wrong keys, limits, unknown models, malformed requests.",
            queries=[Query(rate(f"{_OWN}refusals_total", "kind"), "{{kind}}")],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="In the queue",
            description="Requests that wait for a place at a backend. The line is the limit of LLMGatewayQueueLong.",
            queries=[Query(f"sum by (model) (llm_requests_waiting{select(*_SEEN)})", "{{model}}")],
            unit="none",
            minimum=0,
            limits=[Limit(settings.limit("gateway_queue"))],
        ),
        Lines(
            title="Time to first token",
            description="From arrival to the first event of the answer. The line is the limit of "
            "LLMTimeToFirstTokenHigh.",
            queries=quantiles("llm_time_to_first_token_seconds", "model, version", _VERSION, *_SEEN),
            unit="s",
            minimum=0,
            limits=[Limit(settings.limit("ttft_p95"))],
            width=12,
        ),
        Heat(
            title="Whole request",
            description="Requests per second in each bucket of duration, from arrival to the end of the answer.",
            queries=heat("llm_request_duration_seconds", *_SEEN),
            unit="s",
            width=12,
        ),
    ]


def _backends() -> Section:
    by, legend = "model, version, backend", _VERSION + " {{backend}}"
    return "Backends", [
        Lines(
            title="Attempts per second",
            description="Requests, retries and second attempts that were sent to each backend.",
            queries=[Query(rate(f"{_OWN}attempts_total", by, _MODEL), legend)],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Failed attempts per second by reason",
            description="Attempts that an engine failed. Another attempt may have followed.",
            queries=[Query(rate(f"{_OWN}faults_total", f"{by}, reason", _MODEL), legend + " {{reason}}")],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Retries and second attempts",
            description="Per second: attempts after a failed one, and second ones beside a slow first one (hedges).",
            queries=[
                Query(rate(f"{_OWN}{name}_total", "model", _MODEL), "{{model}} " + name)
                for name in ("retries", "hedges")
            ],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Copies, cache and answers of other models",
            description="Per second: requests that were copied to another version, looked up in the response cache, "
            "and answered by another model because their own could not.",
            queries=[
                Query(rate(f"{_OWN}mirrored_requests_total", "model", _MODEL), "{{model}} copied"),
                Query(rate(f"{_OWN}cache_lookups_total", "model, result", _MODEL), "{{model}} cache {{result}}"),
                Query(rate(f"{_OWN}degraded_requests_total", "model", _MODEL), "{{model}} answered by another"),
            ],
            unit="reqps",
            minimum=0,
            width=12,
        ),
        Bars(
            title="Without requests now",
            description="Backends that get none: ejected for failures, or vetoed since their engine says that it is "
            "full.",
            queries=[
                Query(f"max by (backend) ({_OWN}ejected{select(_MODEL)}) > 0", "{{backend}} ejected"),
                Query(f"max by (backend) ({_OWN}vetoed{select()}) > 0", "{{backend}} vetoed"),
            ],
            unit="none",
            minimum=0,
            maximum=1,
            limits=[Limit(1, YELLOW)],
            width=12,
        ),
    ]


def _tenants() -> Section:
    tenant = chosen("tenant")
    asked = rate(f"{_OWN}tenant_requests_total", "tenant", tenant)
    return "Tenants", [
        Lines(
            title="Requests per second by tenant",
            description="The tenants beyond the first 200 are `other`.",
            queries=[Query(asked, "{{tenant}}")],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Tokens per second by tenant",
            description="Input and output. Cached input is a part of the input.",
            queries=[Query(rate(f"{_OWN}tenant_tokens_total", "tenant, type", tenant), "{{tenant}} {{type}}")],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Failed requests by tenant",
            description="As a share of the tenant's requests.",
            queries=[Query(ratio(rate(f"{_OWN}tenant_requests_total", "tenant", FAILED, tenant), asked), "{{tenant}}")],
            unit="percentunit",
            minimum=0,
        ),
    ]


def _process() -> Section:
    lag = quantiles(f"{_OWN}loop_lag_seconds", "instance", "{{instance}}")
    return "The gateways themselves", [
        Lines(
            title="Lateness of the workers' timers",
            description="A late timer is a worker that has too much to do. Answers wait for as long.",
            queries=lag,
            unit="s",
            minimum=0,
            width=8,
        ),
        Lines(
            title="Workers that ended by themselves",
            description="Per hour. Each was replaced; its open requests were lost.",
            queries=[Query(f"sum by (instance) (increase({_OWN}worker_restarts_total{select()}[1h]))", "{{instance}}")],
            unit="none",
            minimum=0,
            width=8,
        ),
        Lines(
            title="Lost",
            description="Per hour: requests that were open in a worker that died, records of usage that were not kept, "
            "and series for which there was no memory. At 1 of `settings not applied` the newest state cannot be used.",
            queries=[
                Query(
                    f"sum by (instance) (increase({_OWN}lost_requests_total{select()}[1h]))", "{{instance}} requests"
                ),
                Query(
                    f"sum by (instance, reason) (increase({_OWN}journal_lost_records_total{select()}[1h]))",
                    "{{instance}} usage: {{reason}}",
                ),
                Query(f"max by (instance) ({_OWN}series_refused{select()})", "{{instance}} series"),
                Query(f"max by (instance) ({_OWN}desired_fault{select()})", "{{instance}} settings not applied"),
            ],
            unit="none",
            minimum=0,
            width=8,
        ),
        Lines(
            title="Processes under one name",
            description="Processes that report under the name of a gateway. Above 1, several gateways have one name, "
            "and their counts mix.",
            queries=[Query(f"max by (gateway) ({_OWN}processes{select()})", "{{gateway}}")],
            unit="none",
            minimum=0,
            limits=[Limit(2, YELLOW)],
            width=12,
        ),
        Lines(
            title="Usage that waits for the control plane",
            description="Bytes of the journal on disk that are not shipped.",
            queries=[Query(f"max by (instance) ({_OWN}journal_bytes{select()})", "{{instance}}")],
            unit="bytes",
            minimum=0,
            width=12,
        ),
    ]
