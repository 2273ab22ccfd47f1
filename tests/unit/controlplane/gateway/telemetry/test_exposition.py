"""The text that the supervisor exposes: sums over workers, in a form that Prometheus' own tools accept."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collectors.catalogue.model import load_catalogue
from controlplane.gateway.request import Outcome
from controlplane.gateway.seams import Area
from controlplane.gateway.telemetry import families as f
from controlplane.gateway.telemetry.columns import AREA_BYTES, exposition_of, meters_of
from controlplane.gateway.telemetry.recorder import WorkerRecorder
from tests.fakes.shared_memory import shared_memory
from tests.fakes.usage_records import BACKEND, record


@pytest.fixture
def memory() -> Iterator[Area]:
    with shared_memory(AREA_BYTES) as area:
        yield area


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counters_and_histograms_of_workers_add_up(memory: Area) -> None:
    for number in (1, 2):
        meters = meters_of(memory, number)
        meters.counter(f.REQUESTS, "chat", "v1", "http://a:1", "success").add(number)
        gap = meters.histogram(f.GAP, "chat", "v1")
        gap.observe(0.02)
        gap.observe(100.0)
    found = samples(exposition_of(memory).text())
    labels = (
        ("backend", "http://a:1"),
        ("model", "chat"),
        ("outcome", "success"),
        ("source", "gateway"),
        ("version", "v1"),
    )
    assert found["llm_requests_total", labels] == 3.0
    of = (("model", "chat"), ("source", "gateway"), ("version", "v1"))
    bucket = {dict(key[1])["le"]: value for key, value in found.items() if key[0].endswith("_bucket")}
    assert (bucket["0.01"], bucket["0.025"], bucket["5.0"], bucket["+Inf"]) == (0.0, 2.0, 2.0, 4.0)
    assert len(bucket) == len(f.GAP_BOUNDS) + 1
    assert found["llm_inter_token_latency_seconds_count", of] == 4.0
    assert found["llm_inter_token_latency_seconds_sum", of] == pytest.approx(200.04)


def test_gauges_of_workers_merge_as_their_family_says(memory: Area) -> None:
    for number in (1, 2):
        meters = meters_of(memory, number)
        meters.gauge(f.RUNNING, "chat", "v1", "u").set(number)
        meters.gauge(f.GENERATION, "chat").set(number)
        meters.gauge(f.EJECTED, "chat", "v1", "u").set(number - 1)
    text = exposition_of(memory).text().decode()
    assert 'llm_requests_running{source="gateway",model="chat",version="v1",backend="u"} 3.0\n' in text
    assert 'controlplane_gateway_generation{model="chat"} 1.0\n' in text
    assert 'controlplane_gateway_ejected{model="chat",version="v1",backend="u"} 1.0\n' in text


def test_an_empty_label_is_absent_and_a_value_is_escaped(memory: Area) -> None:
    meters = meters_of(memory, 3)
    meters.counter(f.REQUESTS, 'a"b\\c\nd', "", "", "rejected").add()
    meters.counter(f.LOST).add()
    text = exposition_of(memory).text().decode()
    assert 'llm_requests_total{source="gateway",model="a\\"b\\\\c\\nd",outcome="rejected"} 1.0\n' in text
    assert "controlplane_gateway_lost_requests_total 1.0\n" in text


def test_a_label_value_cannot_forge_another_series(memory: Area) -> None:
    meters = meters_of(memory, 3)
    meters.counter(f.REFUSALS, "a\x1fb", "malformed").add()
    assert exposition_of(memory).totals(f.REFUSALS, "model") == {("a?b",): 1.0}


def test_a_series_that_comes_later_is_in_the_next_text(memory: Area) -> None:
    meters = meters_of(memory, 3)
    exposition = exposition_of(memory)
    assert b"hedges" not in exposition.text()
    meters.counter(f.HEDGES, "chat", "v1").add()
    assert b'controlplane_gateway_hedges_total{model="chat",version="v1"} 1.0\n' in exposition.text()


def test_totals_sum_over_the_other_labels(memory: Area) -> None:
    for number in (0, 127):
        meters = meters_of(memory, number)
        meters.counter(f.ATTEMPTS, "chat", "v1", "u1").add(5)
        meters.counter(f.ATTEMPTS, "chat", "v1", "u2").add(1)
        meters.counter(f.ATTEMPTS, "chat", "v2", "u3").add(2)
    exposition = exposition_of(memory)
    assert exposition.totals(f.ATTEMPTS, "model", "version") == {("chat", "v1"): 12.0, ("chat", "v2"): 4.0}
    assert exposition.totals(f.ATTEMPTS) == {(): 16.0}
    assert exposition.totals(f.HEDGES) == {}


def test_canonical_families_are_as_the_catalogue_says() -> None:
    catalogue = load_catalogue()
    canonical = [family for family in f.FAMILIES.values() if family.canonical]
    assert canonical
    for family in canonical:
        metric = catalogue.metrics[family.name]
        assert metric.type == family.kind
        assert set(family.labels) <= {*metric.labels, "model", "version", "backend"}


def test_the_fixture_of_the_mapping_is_what_a_gateway_exposes(memory: Area, fixtures: Path) -> None:
    recorder = WorkerRecorder(meters_of(memory, 0))
    recorder.waiting("chat", 0)
    for outcome in (Outcome.OK, Outcome.CUT):
        recorder.began("chat", "v1", BACKEND)
        recorder.ended(record(outcome=outcome, completion_tokens=6), opened=True)
    recorder.ended(record(outcome=Outcome.INVALID, model="", version="", reason="malformed"), opened=False)
    assert (fixtures / "gateway.prom").read_bytes() == exposition_of(memory).text()


@pytest.mark.needs("prometheus")
def test_promtool_accepts_every_family(memory: Area) -> None:
    meters = meters_of(memory, 3)
    make = {f.Kind.COUNTER: meters.counter, f.Kind.GAUGE: meters.gauge, f.Kind.HISTOGRAM: meters.histogram}
    for family in f.FAMILIES.values():
        make[family.kind](family, *("x" for _ in family.labels))
    text = exposition_of(memory).text()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
