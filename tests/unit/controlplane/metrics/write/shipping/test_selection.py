"""Selection of the series that are sent. Their values are those that the store computes."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from collectors.samples import Layout, Series, View, labels_of
from controlplane.metrics.arrays import STALE_BITS
from controlplane.metrics.write.shipping.selection import Selection
from controlplane.metrics.write.shipping.wire import encoded_labels

CANONICAL = {"llm_requests_total"}
RAW = (
    Series("vllm:requests", ()),
    Series("vllm:errors", ()),
    Series("llm_requests_total", labels_of({"native": "yes"})),
    Series("up", ()),
    Series("scrape_duration_seconds", ()),
    Series("controlplane_targets", ()),
)
SUM = View(Series("llm_requests_total", ()), (0, 1), 0.5)
ALIAS = View(Series("llm_errors_total", ()), (1,))
LAYOUT = Layout(RAW, (SUM, ALIAS))
ROW = np.array([2.0, 4.0, 8.0, 1.0, 0.25, 3.0])


def shipped(source: str, *send: str) -> dict[bytes, float]:
    chosen = Selection(send, CANONICAL.__contains__).of(source, LAYOUT)
    return dict(zip(chosen.labels, chosen.values(ROW).tolist(), strict=True))


def named(**values: float) -> dict[bytes, float]:
    by_name = {series.name: series for series in reversed([*RAW, ALIAS.series])}
    return {encoded_labels(by_name[name.replace("__", ":")]): value for name, value in values.items()}


OWN = named(llm_requests_total=8.0, controlplane_targets=3.0)
REPORT = named(up=1.0, scrape_duration_seconds=0.25)
VIEWS = {encoded_labels(SUM.series): 3.0, encoded_labels(ALIAS.series): 4.0}
ENGINES = named(vllm__requests=2.0, vllm__errors=4.0)


@pytest.mark.parametrize(
    ("source", "send", "expected"),
    [
        ("vllm/a/http://a", ("canonical",), OWN | REPORT | VIEWS),
        ("vllm/a/http://a", ("own",), OWN),
        ("vllm/a/http://a", ("own", "canonical"), OWN | REPORT | VIEWS),
        ("vllm/a/http://a", ("raw",), ENGINES),
        ("vllm/a/http://a", ("recorded",), {}),
        ("vllm/a/http://a", ("canonical", "raw", "recorded"), ENGINES | OWN | REPORT | VIEWS),
        ("rule:f;g;a", ("recorded",), ENGINES | OWN | REPORT),
        ("rule:f;g;a", ("raw", "own", "canonical"), VIEWS),
    ],
)
def test_series_are_chosen_by_kind(source: str, send: tuple[str, ...], expected: dict[bytes, float]) -> None:
    assert shipped(source, *send) == expected


def test_a_marker_among_the_values_keeps_its_bits_where_nothing_is_computed() -> None:
    row = np.array([STALE_BITS] * 6, dtype=np.uint64).view(np.float64)
    layout = Layout(RAW, (ALIAS, View(Series("llm_scaled", ()), (0,), 2.0)))
    chosen = Selection(("canonical",), lambda _: False).of("a", layout)
    bits = [struct.unpack("<Q", struct.pack("<d", v))[0] == STALE_BITS for v in chosen.values(row)]
    assert bits == [True] * 4 + [False]


def test_the_row_is_not_changed() -> None:
    before = ROW.copy()
    shipped("vllm", "canonical", "raw")
    np.testing.assert_array_equal(ROW, before)
