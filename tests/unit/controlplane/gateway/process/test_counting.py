"""Requests are counted by version since the model's generation was applied."""

from __future__ import annotations

from controlplane.gateway.process.counting import CountingRecorder
from controlplane.gateway.seams import Area
from controlplane.gateway.telemetry.columns import AREA_BYTES, exposition_of, meters_of
from controlplane.gateway.telemetry.families import ATTEMPTS, GENERATION
from tests.fakes.gateway_control_plane import desired_of
from tests.fakes.shared_memory import shared_memory


def test_counts_begin_anew_with_a_generation_and_metrics_do_not() -> None:
    with shared_memory(AREA_BYTES) as area:
        count(area)


def count(area: Area) -> None:
    recorder = CountingRecorder(meters_of(area, 3))
    assert recorder.counted() == {}
    recorder.began("chat", "v1", "http://a:1")  # before the first state: no generation that it could show
    recorder.apply(desired_of(1, v1=(1000, "http://a:1")))
    for _ in range(2):
        recorder.began("chat", "v1", "http://a:1")
    recorder.began("unknown", "v1", "http://a:1")
    assert recorder.counted() == {"chat": {"generation": 1, "requests": {"v1": 2}}}
    recorder.apply(desired_of(1, v1=(1000, "http://b:1")))
    assert recorder.counted() == {"chat": {"generation": 1, "requests": {"v1": 2}}}
    recorder.apply(desired_of(2, v1=(500, "http://a:1"), v2=(500, "http://a:1")))
    recorder.began("chat", "v2", "http://a:1")
    assert recorder.counted() == {"chat": {"generation": 2, "requests": {"v2": 1}}}
    totals = exposition_of(area).totals(ATTEMPTS, "model", "version")
    assert (totals["chat", "v1"], totals["chat", "v2"]) == (3.0, 1.0)
    assert exposition_of(area).totals(GENERATION, "model") == {("chat",): 2.0}
