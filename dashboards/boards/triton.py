"""The Triton dashboard: Triton's own metrics, under their own names."""

from __future__ import annotations

from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.panels import Limit, Lines, Query, Rows
from dashboards.settings import Settings

_CHOSEN = chosen("model", "instance")
_SELECT = select(_CHOSEN)
_P99 = select('quantile="0.99"', _CHOSEN)
_BY = "sum by (model, version)"
_HOST = select(chosen("instance"))
_STATES = select('state=~"ready|loading|unloading|unavailable"', _CHOSEN)
_LEGEND = "{{model}} {{version}}"


def _mean_ms(metric: str) -> str:
    """Return a query for mean milliseconds per request. Triton exports cumulative microseconds, without buckets."""
    return (
        f"{_BY} (rate({metric}{_SELECT}[$__rate_interval]))"
        f" / {_BY} (rate(nv_inference_request_success{_SELECT}[$__rate_interval])) / 1000"
    )


def triton(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-triton",
        title="Triton",
        description="Triton has no latency buckets. It has means, and with summaries on, quantiles of the last minute.",
        variables={
            "model": values_of("nv_inference_request_success", "model"),
            "instance": values_of("nv_inference_request_success", "instance", chosen("model")),
        },
        sections=[_requests(), _time(settings), _host()],
        page="/targets",
    )


def _requests() -> Section:
    return "Requests", [
        Lines(
            title="Requests per second",
            description="Requests that Triton answered, per second. Errors of Python models count too.",
            queries=[Query(f"{_BY} (rate(nv_inference_request_success{_SELECT}[$__rate_interval]))", _LEGEND)],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Failures per second by reason",
            description="The true rate may be higher: errors that a Python model returns count as success, and "
            "requests that a full queue refuses are not counted.",
            queries=[
                Query(
                    f"sum by (model, version, reason) (rate(nv_inference_request_failure{_SELECT}[$__rate_interval]))",
                    "{{model}} {{version}} {{reason}}",
                )
            ],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Waiting",
            description="Requests in Triton's queues.",
            queries=[Query(f"{_BY} (nv_inference_pending_request_count{_SELECT})", _LEGEND)],
            unit="none",
            minimum=0,
        ),
    ]


def _time(settings: Settings) -> Section:
    return "Time", [
        Lines(
            title="Mean request duration",
            description="Mean time from arrival to the answer. A mean hides a slow tail: see the P99 of the slowest "
            "server.",
            queries=[Query(_mean_ms("nv_inference_request_duration_us"), _LEGEND)],
            unit="ms",
            minimum=0,
        ),
        Lines(
            title="Mean time in queue",
            description="Mean time until a request's batch began.",
            queries=[Query(_mean_ms("nv_inference_queue_duration_us"), _LEGEND)],
            unit="ms",
            minimum=0,
        ),
        Lines(
            title="Mean compute time",
            description="Mean time of the inference itself, without queue and copies.",
            queries=[Query(_mean_ms("nv_inference_compute_infer_duration_us"), _LEGEND)],
            unit="ms",
            minimum=0,
        ),
        Lines(
            title="P99 of the slowest server",
            description="Needs --metrics-config summary_latencies=true. An upper bound, since quantiles of several "
            "servers cannot be averaged. The line is the limit of LLMLatencyQuantileHigh.",
            queries=[
                Query(
                    f"max by (model, version) (nv_inference_request_summary_us{_P99}) / 1000000",
                    _LEGEND,
                )
            ],
            unit="s",
            minimum=0,
            limits=[Limit(settings.limit("latency_p99"))],
            width=12,
        ),
        Lines(
            title="Batch size",
            description="Mean number of requests in one execution. 1 under load means that dynamic batching is off.",
            queries=[
                Query(
                    f"{_BY} (rate(nv_inference_count{_SELECT}[$__rate_interval]))"
                    f" / {_BY} (rate(nv_inference_exec_count{_SELECT}[$__rate_interval]))",
                    _LEGEND,
                )
            ],
            unit="none",
            minimum=0,
            width=12,
        ),
    ]


def _host() -> Section:
    return "Host", [
        Lines(
            title="CPU",
            description="Use of all cores of the server's host, 0 to 1.",
            queries=[Query(f"nv_cpu_utilization{_HOST}", "{{instance}}")],
            unit="percentunit",
            minimum=0,
        ),
        Lines(
            title="Memory",
            description="Used memory of the server's host, in bytes.",
            queries=[Query(f"nv_cpu_memory_used_bytes{_HOST}", "{{instance}}")],
            unit="bytes",
            minimum=0,
        ),
        Rows(
            title="Versions by state",
            description="The state that Triton's index reports for each version.",
            queries=[Query(f"llm_model_state{_STATES} == 1", instant=True)],
            unit="none",
            columns=["model", "version", "state", "instance"],
            values=["now"],
        ),
    ]
