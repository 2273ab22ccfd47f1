"""What values of the API document's own formats look like: loaded by schemathesis, which knows only the usual ones."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

from collectors.samples import labels_of
from controlplane.metrics.remote_write_codec import TimeSeries, WriteRequest, encode

SERIES = TimeSeries(labels_of({"__name__": "x", "job": "a"}), ((1_700_000_000_000, 1.0),))
INSTANT = ["1700000000", "1700000000.000", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"]
"""One instant in several forms: a range must not end before it starts."""

schemathesis.openapi.format(
    "promql", st.sampled_from(["up", "1 + 1", 'sum by (job) (rate(x{a=~"b.*"}[5m]))', '"text"'])
)
schemathesis.openapi.format("promql-selector", st.sampled_from(["up", '{job="vllm"}', 'x{a!~"b|c"}']))
schemathesis.openapi.format("prometheus-time", st.sampled_from(INSTANT))
schemathesis.openapi.format("prometheus-duration", st.sampled_from(["15s", "1h30m", "30", "0.5"]))
schemathesis.openapi.format("prometheus-lifetime", st.sampled_from(["30d", "1h30m", "15s"]))
schemathesis.openapi.media_type("application/x-protobuf", st.just(encode(WriteRequest((SERIES,)))))
