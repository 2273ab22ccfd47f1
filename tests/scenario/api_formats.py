"""Hints for schemathesis: values of the API document's own formats, and cases that are not really wrong."""

from __future__ import annotations

import time
from typing import Any

import schemathesis
from hypothesis import strategies as st

from collectors.samples import labels_of
from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, encode

EXPRESSIONS = ["up", "1 + 1", 'sum by (job) (rate(x{a=~"b.*"}[5m]))']
SELECTORS = ["up", '{job="vllm"}', 'x{a!~"b|c"}']
INSTANT = ["1700000000", "1700000000.000", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"]
"""One instant in several forms. All are equal, so that no range ends before it starts."""


def written() -> bytes:
    """Return a remote-write request with one sample, at the current time."""
    series = TimeSeries(labels_of({"__name__": "x", "job": "a"}), ((round(time.time() * 1000), 1.0),))
    return encode(WriteRequest((series,)))


schemathesis.openapi.format("promql", st.sampled_from(EXPRESSIONS))
schemathesis.openapi.format("promql-selector", st.sampled_from(SELECTORS))
schemathesis.openapi.format("alert-start", st.sampled_from(["2023-11-14T22:13:20Z", "2023-11-14T23:13:20.5+01:00"]))
schemathesis.openapi.format("alert-end", st.sampled_from(["", "2023-11-14T22:23:20.123456789Z"]))
schemathesis.openapi.format("alert-page", st.sampled_from(["", "http://prometheus:9090/graph?g0.expr=up"]))
schemathesis.openapi.format("label-matchers", st.sampled_from(["a=b", '{a!="b", c=~"d|e"}', ""]))
schemathesis.openapi.format("regex", st.sampled_from(["ops", "o.+", ""]))
schemathesis.openapi.format("prometheus-time", st.sampled_from(INSTANT))
schemathesis.openapi.format("prometheus-duration", st.sampled_from(["15s", "1h30m", "30", "0.5"]))
schemathesis.openapi.format("prometheus-lifetime", st.sampled_from(["30d", "1h30m", "15s"]))
schemathesis.openapi.format("instant-or-ago", st.sampled_from([*INSTANT, "2h", "1h30m"]))
schemathesis.openapi.media_type("application/x-protobuf", st.builds(written))


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Return False for a case that only the document refuses and Prometheus accepts.

    A form holds texts. Prometheus reads the first of several texts, an empty text as absent, and a single text as a
    list of one. In the request these cases look alike.
    """
    if "group_next_token" in (case.query or {}):
        return False  # only a token of an earlier answer is valid
    if case.operation.path == "/api/v2/alerts" and isinstance(case.body, list):
        return all(_has_label(alert) for alert in case.body)
    if not case.operation.path.startswith("/api/v1/"):
        return True
    return all(_differs(name, value) for name, value in _pairs(case))


def _has_label(alert: Any) -> bool:
    """Return False for an alert whose labels are all empty: Alertmanager leaves empty labels out, and needs one."""
    labels = alert.get("labels") if isinstance(alert, dict) else None
    return not isinstance(labels, dict) or not labels or any(labels.values())


def _differs(name: str, value: Any) -> bool:
    if name.endswith("[]"):
        return isinstance(value, list)
    return not isinstance(value, list | dict) and value not in ("", None)


def _pairs(case: Any) -> list[tuple[str, Any]]:
    body = case.body if isinstance(case.body, dict) else {}
    return [*(case.query or {}).items(), *body.items()]
