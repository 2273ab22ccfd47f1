"""The mapping: real captures get canonical names, with the numbers that the engines reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from collectors.catalogue.mapping import canonical_layout, missing, present
from collectors.catalogue.model import Catalogue, load_catalogue
from collectors.exposition.parser import parse
from collectors.gpu.exporters import without_blanks
from collectors.samples import Labels, Layout, Series, labels_of
from collectors.target import Target

CATALOGUE = load_catalogue()


class Mapped:
    """A mapped body: its layout, and the value of every series. Views are computed as in the store."""

    def __init__(self, body: bytes, target: Target, catalogue: Catalogue = CATALOGUE) -> None:
        parsed = parse(body)
        self.layout: Layout = canonical_layout(parsed.series, parsed.metadata, target, catalogue)
        self.values: dict[Series, float] = {s: float(v) for s, v in zip(self.layout.raw, parsed.values, strict=True)}
        assert len(self.values) == len(self.layout.raw), "a raw series occurs twice"
        for view in self.layout.views:
            assert view.series not in self.values, f"{view.series} occurs twice"
            self.values[view.series] = view.factor * float(sum(parsed.values[c] for c in view.columns))

    def get(self, name: str, **labels: str) -> dict[Labels, float]:
        """Return the series of `name` with these labels."""
        wanted = labels.items()
        return {s.labels: v for s, v in self.values.items() if s.name == name and wanted <= dict(s.labels).items()}

    def one(self, name: str, **labels: str) -> float:
        """Return the value of the only series of `name` with these labels."""
        found = self.get(name, **labels)
        assert len(found) == 1, f"{name} {labels}: {found}"
        return next(iter(found.values()))


def target(engine: str, labels: Mapping[str, str] | None = None, **kwargs: Any) -> Target:
    kwargs.setdefault("instance", "10.0.0.5:8002")
    return Target(engine, "http://10.0.0.5:8002/metrics", job=engine, labels=labels_of(labels or {}), **kwargs)


@pytest.fixture
def vllm(fixtures: Path) -> Mapped:
    return Mapped((fixtures / "vllm-0.32-llm.prom").read_bytes(), target("vllm", {"version": "v1", "zone": "a"}))


@pytest.fixture
def triton(fixtures: Path) -> Mapped:
    body = (fixtures / "triton-2.51-llm.prom").read_bytes()
    return Mapped(body, target("triton", models=(("llm", "model"),)))


def test_vllm_outcomes_keep_the_engines_reason(vllm: Mapped) -> None:
    assert vllm.one("llm_requests_total", outcome="success", reason="stop") == 28
    assert vllm.one("llm_requests_total", outcome="success", reason="length") == 92
    assert vllm.one("llm_requests_total", outcome="success", reason="repetition") == 0
    assert vllm.one("llm_requests_total", outcome="aborted", reason="abort") == 0
    assert vllm.one("llm_requests_total", outcome="error", reason="error") == 0
    assert vllm.one("llm_requests_total", outcome="rejected", reason="max_num_queued_reqs") == 0


def test_vllm_histograms_counters_and_gauges(vllm: Mapped) -> None:
    assert vllm.one("llm_request_duration_seconds_count") == 120
    assert vllm.one("llm_request_duration_seconds_sum") == 28.037519931793213
    assert vllm.one("llm_request_duration_seconds_bucket", le="+Inf") == 120
    assert vllm.one("llm_time_to_first_token_seconds_sum") == 1.669412612915039
    assert vllm.one("llm_inter_token_latency_seconds_count") == 6481
    assert vllm.one("llm_time_per_output_token_seconds_count") == 120
    assert vllm.one("llm_queue_duration_seconds_sum") == 0.0010136629994121904
    assert vllm.one("llm_tokens_total", type="input") == 5756
    assert vllm.one("llm_tokens_total", type="output") == 6601
    assert vllm.one("llm_tokens_total", type="input_cached") == 0
    assert vllm.one("llm_prefix_cache_queries_total", unit="token") == 5756
    assert vllm.one("llm_requests_running") == 0
    assert vllm.one("llm_kv_cache_usage_ratio") == 0


def test_vllm_canonical_labels(vllm: Mapped) -> None:
    assert list(vllm.get("llm_requests_running")) == [
        (
            ("engine", "vllm"),
            ("instance", "10.0.0.5:8002"),
            ("model", "chat"),
            ("node", "10.0.0.5"),
            ("rank", "0"),
            ("served_model", "chat"),
            ("source", "engine"),
            ("version", "v1"),
            ("zone", "a"),
        )
    ]


def test_vllm_raw_series_are_stored_as_prometheus_stores_them(vllm: Mapped) -> None:
    labels = {"engine": "0", "model_name": "chat", "job": "vllm", "instance": "10.0.0.5:8002"}
    assert vllm.get("vllm:num_requests_running") == {labels_of({**labels, "version": "v1", "zone": "a"}): 0.0}
    assert vllm.one("python_info", version="v1", exported_version="3.11.7") == 1


def test_nothing_expected_is_missing_from_the_captures(vllm: Mapped, triton: Mapped) -> None:
    assert missing(vllm.layout, CATALOGUE, "vllm") == ()
    assert missing(triton.layout, CATALOGUE, "triton") == ()
    assert "llm_request_duration_quantile_seconds" in present(triton.layout, CATALOGUE)


def test_triton_versions_are_named_as_the_fleet_names_them(triton: Mapped) -> None:
    assert triton.one("llm_requests_total", model="model", version="v2", outcome="success") == 23
    assert triton.one("llm_requests_total", model="model", version="v1", outcome="success") == 20
    assert triton.one("llm_requests_total", model="encoder", served_model="encoder", outcome="success") == 20


def test_triton_failures_by_outcome(triton: Mapped) -> None:
    failures = triton.get("llm_requests_total", model="model", version="v2")
    assert sorted((dict(s)["outcome"], dict(s).get("reason")) for s in failures if dict(s).get("reason")) == [
        ("aborted", "CANCELED"),
        ("error", "BACKEND"),
        ("error", "OTHER"),
        ("timeout", "REJECTED"),
    ]


def test_triton_durations_are_seconds_with_sum_and_count_and_no_bucket(triton: Mapped) -> None:
    assert triton.one("llm_request_duration_seconds_sum", model="model", version="v2") == pytest.approx(7.014392)
    assert triton.one("llm_request_duration_seconds_count", model="model", version="v2") == 23
    assert triton.get("llm_request_duration_seconds_bucket") == {}
    assert triton.one("llm_queue_duration_seconds_sum", model="model", version="v2") == pytest.approx(5.743361)
    quantiles = triton.get("llm_request_duration_quantile_seconds", model="model", version="v2")
    assert {dict(s)["quantile"]: round(v, 9) for s, v in quantiles.items()} == {
        "0.5": 0.26427,
        "0.9": 0.489539,
        "0.95": 0.53099,
        "0.99": 0.546236,
        "0.999": 0.546236,
    }


def test_triton_has_waiting_but_no_running(triton: Mapped) -> None:
    assert triton.one("llm_requests_waiting", model="model", version="v1") == 0
    assert triton.get("llm_requests_running") == {}


def test_raw_values_are_not_copied_and_every_column_stays_in_place(vllm: Mapped, fixtures: Path) -> None:
    parsed = parse((fixtures / "vllm-0.32-llm.prom").read_bytes())

    assert [s.name for s in vllm.layout.raw] == [s.name for s in parsed.series]
    assert vllm.layout.metadata["llm_requests_total"].type == "counter"
    assert vllm.layout.metadata["vllm:request_success_total"].type == "counter"


def test_an_older_vllm_maps_by_presence_and_its_per_token_time_is_inter_token_latency(fixtures: Path) -> None:
    old = Mapped((fixtures / "vllm-0.8-handwritten.prom").read_bytes(), target("vllm"))

    assert old.one("llm_inter_token_latency_seconds_sum") == 40.0
    assert "llm_time_per_output_token_seconds" not in present(old.layout, CATALOGUE)
    assert old.one("llm_kv_cache_usage_ratio") == 0.25
    assert old.one("llm_prefix_cache_hits_total", unit="block") == 100
    assert missing(old.layout, CATALOGUE, "vllm") == ()


def test_both_names_of_a_renamed_metric_give_one_series() -> None:
    body = b'vllm:kv_cache_usage_perc{model_name="m"} 0.5\nvllm:gpu_cache_usage_perc{model_name="m"} 0.4\n'
    assert Mapped(body, target("vllm")).one("llm_kv_cache_usage_ratio") == 0.5


def test_what_an_engine_stopped_exposing_is_reported_missing() -> None:
    mapped = Mapped(b'vllm:num_requests_running{model_name="m"} 1\n', target("vllm"))

    assert "llm_kv_cache_usage_ratio" in missing(mapped.layout, CATALOGUE, "vllm")
    assert mapped.get("llm_kv_cache_usage_ratio") == {}


@pytest.fixture
def dcgm(fixtures: Path) -> Mapped:
    body = without_blanks((fixtures / "dcgm-handwritten.prom").read_bytes())
    return Mapped(body, target("dcgm", instance="10.0.0.9:9400"))


def test_dcgm_units_and_labels(dcgm: Mapped) -> None:
    assert dcgm.get("gpu_utilization_ratio", gpu="GPU-aaaa") == {
        (
            ("engine", "dcgm"),
            ("gpu", "GPU-aaaa"),
            ("instance", "10.0.0.9:9400"),
            ("node", "node-7"),
            ("source", "engine"),
        ): pytest.approx(0.73)
    }
    assert dcgm.one("gpu_memory_used_bytes") == 41000 * 1048576
    assert dcgm.one("gpu_memory_reserved_bytes", gpu="GPU-aaaa") == 600 * 1048576
    assert dcgm.one("gpu_energy_joules_total") == pytest.approx(123456.789)
    assert dcgm.one("gpu_errors_total", type="remapped_rows_uncorrectable") == 2


def test_dcgm_total_memory_is_the_sum_of_three_columns(dcgm: Mapped) -> None:
    assert dcgm.one("gpu_memory_total_bytes", gpu="GPU-aaaa") == (41000 + 40000 + 600) * 1048576


def test_a_gpu_shared_by_two_pods_is_one_gpu(dcgm: Mapped) -> None:
    assert dcgm.one("gpu_temperature_celsius", gpu="GPU-bbbb") == 70
    assert len(dcgm.get("DCGM_FI_DEV_GPU_TEMP", UUID="GPU-bbbb")) == 2


def test_a_mig_slice_is_a_gpu_of_its_own(dcgm: Mapped) -> None:
    assert dcgm.one("gpu_utilization_ratio", gpu="GPU-cccc/GI7") == 0.25


def test_dcgm_blanks_are_absent_so_that_no_memory_rule_can_fire_on_them(dcgm: Mapped) -> None:
    assert dcgm.get("DCGM_FI_DEV_FB_USED", UUID="GPU-bbbb") == {}
    assert dcgm.get("gpu_memory_used_bytes", gpu="GPU-bbbb") == {}
    assert dcgm.get("gpu_memory_total_bytes", gpu="GPU-bbbb") == {}
    assert dcgm.get("gpu_power_watts", gpu="GPU-bbbb") == {}


def test_an_exporter_without_reserved_memory_still_has_a_total() -> None:
    body = b'DCGM_FI_DEV_FB_USED{UUID="GPU-a"} 30\nDCGM_FI_DEV_FB_FREE{UUID="GPU-a"} 10\n'
    assert Mapped(body, target("dcgm")).one("gpu_memory_total_bytes") == 40 * 1048576


def test_triton_gpu_metrics_are_keyed_by_uuid() -> None:
    mapped = Mapped(b'nv_gpu_memory_used_bytes{gpu_uuid="GPU-a"} 5\n', target("triton", {"node": "n1"}))
    assert mapped.one("gpu_memory_used_bytes", gpu="GPU-a", node="n1") == 5


def test_millisecond_buckets_become_seconds() -> None:
    body = (
        b"# TYPE nv_inference_first_response_histogram_ms histogram\n"
        b'nv_inference_first_response_histogram_ms_bucket{model="m",version="1",le="300"} 4\n'
        b'nv_inference_first_response_histogram_ms_bucket{model="m",version="1",le="2000"} 6\n'
        b'nv_inference_first_response_histogram_ms_bucket{model="m",version="1",le="+Inf"} 7\n'
        b'nv_inference_first_response_histogram_ms_sum{model="m",version="1"} 1234\n'
        b'nv_inference_first_response_histogram_ms_count{model="m",version="1"} 7\n'
    )
    mapped = Mapped(body, target("triton"))

    buckets = mapped.get("llm_time_to_first_token_seconds_bucket")
    assert {dict(s)["le"]: v for s, v in buckets.items()} == {"0.3": 4, "2.0": 6, "+Inf": 7}
    assert mapped.one("llm_time_to_first_token_seconds_sum") == pytest.approx(1.234)
    assert mapped.one("llm_time_to_first_token_seconds_count") == 7


def test_a_block_count_of_two_samples_is_absent_when_one_of_them_is() -> None:
    reused = b'trtllm_kv_cache_reused_blocks_total{model_name="m"} 3\n'
    missed = b'trtllm_kv_cache_missed_blocks_total{model_name="m"} 4\n'

    assert Mapped(reused + missed, target("trtllm")).one("llm_prefix_cache_queries_total", unit="block") == 7
    assert Mapped(reused, target("trtllm")).get("llm_prefix_cache_queries_total") == {}


def test_series_that_differ_only_in_uncatalogued_labels_are_summed_where_the_catalogue_says_so() -> None:
    body = b'sglang:cached_tokens_total{cache_source="a"} 3\nsglang:cached_tokens_total{cache_source="b"} 4\n'
    assert Mapped(body, target("sglang")).one("llm_tokens_total", type="input_cached") == 7


def test_sglang_requests_have_an_unknown_outcome_never_success() -> None:
    mapped = Mapped(b'sglang:num_requests_total{model_name="m"} 3\n', target("sglang"))
    assert mapped.one("llm_requests_total", outcome="unknown") == 3


def test_an_outcome_the_catalogue_does_not_know_is_unknown() -> None:
    mapped = Mapped(b'vllm:request_success_total{finished_reason="new"} 3\n', target("vllm"))
    assert mapped.one("llm_requests_total", outcome="unknown", reason="new") == 3


def test_a_colliding_scraped_label_is_kept_as_exported() -> None:
    body = b'm{job="x",zone="b",exported_zone="c",own="d"} 1\n'
    mapped = Mapped(body, target("custom", {"zone": "a"}))

    assert [dict(s.labels) for s in mapped.layout.raw] == [
        {
            "instance": "10.0.0.5:8002",
            "job": "custom",
            "zone": "a",
            "exported_job": "x",
            "exported_exported_zone": "b",
            "exported_zone": "c",
            "own": "d",
        }
    ]


def test_series_that_meet_after_renaming_stay_two_columns() -> None:
    mapped = Mapped(b'm{job="x"} 1\nm{exported_job="x"} 2\n', target("custom"))
    assert sorted(mapped.values.values()) == [1.0, 2.0]


def test_a_custom_target_has_raw_series_only() -> None:
    mapped = Mapped(b'llm_requests_running{model="m"} 1\nvllm:num_requests_running 2\n', target("custom"))

    assert mapped.layout.views == ()
    assert dict(mapped.layout.raw[0].labels) == {"instance": "10.0.0.5:8002", "job": "custom", "model": "m"}


def test_a_metric_that_is_canonical_already_is_stored_once_with_canonical_labels_added() -> None:
    body = b'llm_requests_total{outcome="success",source="probe",served_model="chat-7b"} 4\nother 1\n'
    mapped = Mapped(body, target("probe", {"model": "chat"}))

    assert mapped.layout.views == ()
    assert [dict(s.labels) for s in mapped.layout.raw] == [
        {
            "engine": "probe",
            "instance": "10.0.0.5:8002",
            "job": "probe",
            "model": "chat",
            "node": "10.0.0.5",
            "outcome": "success",
            "served_model": "chat-7b",
            "source": "probe",
        },
        {"instance": "10.0.0.5:8002", "job": "probe", "model": "chat"},
    ]


def test_a_gateways_exposition_is_canonical_with_its_own_models_versions_and_backends(fixtures: Path) -> None:
    mapped = Mapped((fixtures / "gateway.prom").read_bytes(), target("gateway", {"zone": "a"}))

    assert mapped.layout.views == ()
    assert missing(mapped.layout, CATALOGUE, "gateway") == ()
    of = {"engine": "gateway", "source": "gateway", "model": "chat", "version": "v1", "zone": "a", "node": "10.0.0.5"}
    assert mapped.one("llm_requests_total", outcome="success", backend="http://10.0.0.7:8000", **of) == 1
    assert mapped.one("llm_requests_total", outcome="cut", backend="http://10.0.0.7:8000", **of) == 1
    assert mapped.one("llm_request_duration_seconds_count", **of) == 1
    assert mapped.one("llm_tokens_total", type="output", **of) == 12
    assert mapped.one("controlplane_gateway_attempts_total", model="chat", backend="http://10.0.0.7:8000") == 2


def test_a_native_gpu_metric_keeps_its_node_unless_the_configuration_names_one() -> None:
    body = b'gpu_up{gpu="GPU-a",node="host-1"} 1\n'

    assert Mapped(body, target("nvml")).one("gpu_up", node="host-1", source="engine") == 1
    named = Mapped(body, target("nvml", {"node": "rack-7"}))
    assert named.one("gpu_up", node="rack-7", exported_node="host-1") == 1


@pytest.mark.parametrize(
    ("instance", "node"),
    [("10.0.0.5:8002", "10.0.0.5"), ("[::1]:8002", "::1"), ("host", "host"), ("h-1.example:9400", "h-1.example")],
)
def test_node_is_the_host_part_of_the_instance(instance: str, node: str) -> None:
    mapped = Mapped(b"vllm:num_requests_running 1\n", target("vllm", instance=instance))
    assert mapped.one("llm_requests_running", node=node) == 1


def test_the_configurations_model_and_version_outrank_what_the_engine_says() -> None:
    body = b'nv_inference_pending_request_count{model="llm",version="3"} 1\n'
    mapped = Mapped(body, target("triton", {"model": "chat", "version": "v9"}, models=(("llm", "other"),)))
    assert mapped.one("llm_requests_waiting", served_model="llm", model="chat", version="v9") == 1


def test_blank_values_are_dropped_whole_lines_at_a_time() -> None:
    kept = b'dcgm_a 1\ndcgm_b{x="9223372036854775794"} 2\n'
    blank = b"dcgm_c 9223372036854775792\nDCGM_d 9.223372036854776e+18 1700000000\n"
    assert without_blanks(kept + blank + b"dcgm_e 3") == kept + b"dcgm_e 3"
    assert without_blanks(b"dcgm_e 9223372036854775795") == b""


def test_a_limit_of_another_program_is_no_blank_value() -> None:
    body = b"DCGM_a 1\njvm_memory_max_bytes 9.223372036854776e+18\n"
    assert without_blanks(body) == body
