"""The Triton dashboard: Triton's own metrics, under their own names."""

from __future__ import annotations

from typing import Any

from dashboards.panels import Lines, Query, Rows, Section, dashboard

_SELECT = 'model=~"$model", instance=~"$instance"'
_BY = "sum by (model, version)"
_LEGEND = "{{model}} {{version}}"


def _mean_ms(metric: str) -> str:
    """Return a query for mean milliseconds per request. Triton exports cumulative microseconds, without buckets."""
    return (
        f"{_BY} (rate({metric}{{{_SELECT}}}[$__rate_interval]))"
        f" / {_BY} (rate(nv_inference_request_success{{{_SELECT}}}[$__rate_interval])) / 1000"
    )


def triton() -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        uid="llm-triton",
        title="Triton",
        description="Triton has no latency buckets. It has means, and with summaries on, quantiles of the last minute.",
        variables={
            "model": "label_values(nv_inference_request_success, model)",
            "instance": "label_values(nv_inference_request_success, instance)",
        },
        sections=[_requests(), _time(), _host()],
    )


def _requests() -> Section:
    return "Requests", [
        Lines(
            title="Requests per second",
            queries=[Query(f"{_BY} (rate(nv_inference_request_success{{{_SELECT}}}[$__rate_interval]))", _LEGEND)],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Failures per second by reason",
            description="The true rate may be higher: errors that a Python model returns count as success, and "
            "requests that a full queue refuses are not counted.",
            queries=[
                Query(
                    "sum by (model, version, reason) "
                    f"(rate(nv_inference_request_failure{{{_SELECT}}}[$__rate_interval]))",
                    "{{model}} {{version}} {{reason}}",
                )
            ],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Waiting",
            queries=[Query(f"{_BY} (nv_inference_pending_request_count{{{_SELECT}}})", _LEGEND)],
            minimum=0,
        ),
    ]


def _time() -> Section:
    return "Time", [
        Lines(
            title="Mean request duration",
            queries=[Query(_mean_ms("nv_inference_request_duration_us"), _LEGEND)],
            unit="ms",
            minimum=0,
        ),
        Lines(
            title="Mean time in queue",
            queries=[Query(_mean_ms("nv_inference_queue_duration_us"), _LEGEND)],
            unit="ms",
            minimum=0,
        ),
        Lines(
            title="Mean compute time",
            queries=[Query(_mean_ms("nv_inference_compute_infer_duration_us"), _LEGEND)],
            unit="ms",
            minimum=0,
        ),
        Lines(
            title="P99 of the slowest server",
            description="Needs --metrics-config summary_latencies=true. An upper bound, since "
            "quantiles of several servers cannot be averaged.",
            queries=[
                Query(
                    "max by (model, version) "
                    f'(nv_inference_request_summary_us{{quantile="0.99", {_SELECT}}}) / 1000000',
                    _LEGEND,
                )
            ],
            unit="s",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Batch size",
            queries=[
                Query(
                    f"{_BY} (rate(nv_inference_count{{{_SELECT}}}[$__rate_interval]))"
                    f" / {_BY} (rate(nv_inference_exec_count{{{_SELECT}}}[$__rate_interval]))",
                    _LEGEND,
                )
            ],
            minimum=0,
            width=12,
        ),
    ]


def _host() -> Section:
    return "Host", [
        Lines(
            title="CPU",
            queries=[Query('nv_cpu_utilization{instance=~"$instance"}', "{{instance}}")],
            unit="percentunit",
            minimum=0,
        ),
        Lines(
            title="Memory",
            queries=[Query('nv_cpu_memory_used_bytes{instance=~"$instance"}', "{{instance}}")],
            unit="bytes",
            minimum=0,
        ),
        Rows(
            title="Versions by state",
            queries=[Query("llm_model_state == 1", instant=True)],
            columns=["model", "version", "state", "instance"],
        ),
    ]
