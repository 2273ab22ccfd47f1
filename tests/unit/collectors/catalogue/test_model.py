"""The catalogue: its content, and the errors for bad entries."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.catalogue.model import load_catalogue
from collectors.errors import CatalogueError

METRIC = 'metrics: {llm_x: {type: gauge, unit: u, help: "h"}, llm_h: {type: histogram, unit: s, help: "h"}}\n'


def test_every_canonical_metric_is_declared_with_type_unit_and_help() -> None:
    catalogue = load_catalogue()

    assert len(catalogue.names()) == 56
    for name, metric in catalogue.metrics.items():
        assert metric.help.endswith("."), name
        assert (metric.type == "counter") == name.endswith("_total"), name


@pytest.mark.parametrize(
    ("name", "semconv"),
    [
        ("llm_request_duration_seconds", "gen_ai.server.request.duration"),
        ("llm_time_to_first_token_seconds", "gen_ai.server.time_to_first_token"),
        ("llm_time_per_output_token_seconds", "gen_ai.server.time_per_output_token"),
        ("llm_inter_token_latency_seconds", None),
        ("llm_queue_duration_seconds", None),
        ("gpu_utilization_ratio", "hw.gpu.utilization"),
    ],
)
def test_semantic_convention_names_are_given_only_where_a_convention_exists(name: str, semconv: str | None) -> None:
    assert load_catalogue().metrics[name].semconv == semconv


def test_every_metric_has_an_origin_except_lora_adapters_which_no_engine_counts() -> None:
    catalogue = load_catalogue()
    sourced = {n for engine in catalogue.engines.values() for n in (*engine.sources, *engine.native)}

    assert set(catalogue.names()) - sourced == {"llm_lora_adapters"}


def test_expected_lists_what_a_default_installation_exposes() -> None:
    catalogue = load_catalogue()

    assert catalogue.expected("triton") == (
        "llm_requests_total",
        "llm_request_duration_seconds",
        "llm_queue_duration_seconds",
        "llm_requests_waiting",
    )
    assert catalogue.expected("custom") == ()


@pytest.mark.parametrize(
    ("sample", "family"),
    [
        ("llm_requests_total", "llm_requests_total"),
        ("llm_request_duration_seconds_bucket", "llm_request_duration_seconds"),
        ("llm_request_duration_seconds_sum", "llm_request_duration_seconds"),
        ("llm_requests_running_sum", None),
        ("nv_inference_request_success", None),
    ],
)
def test_family_strips_suffixes_of_histograms_only(sample: str, family: str | None) -> None:
    assert load_catalogue().family(sample) == family


OUTCOME = "metrics: {r: {type: counter, unit: u, help: h, labels: [outcome]}}\n"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("metrics: [", "not YAML"),
        ("metrics: {}\n", "engines: Field required"),
        ("metrics: {llm_x: {type: gouge, unit: u, help: h}}\nengines: {}\n", "metrics.llm_x.type: Input should be"),
        (METRIC + "engines: {e: {expected: [llm_y]}}\n", "engines.e: llm_y is not declared under metrics"),
        (METRIC + "engines: {e: {expected: [llm_x]}}\n", "engines.e.expected: llm_x has no source"),
        (METRIC + "engines: {e: {sources: {llm_x: [{}]}}}\n", "needs exactly one of from: and sum:"),
        (METRIC + "engines: {e: {sources: {llm_x: [{from: [a], sum: [b, c]}]}}}\n", "needs exactly one of"),
        (METRIC + "engines: {e: {sources: {llm_x: [{from: ['a b']}]}}}\n", "engines.e.sources.llm_x.0.from.0"),
        (METRIC + "engines: {e: {sources: {llm_x: [{from: [a], factor: 0}]}}}\n", "factor"),
        (METRIC + "engines: {e: {sources: {llm_x: [{from: [a], part: sum}]}}}\n", "llm_x[0]: part: is for histograms"),
        (METRIC + "engines: {e: {sources: {llm_h: [{sum: [a, b]}]}}}\n", "cannot add up whole histograms"),
        (METRIC + "engines: {e: {sources: {llm_x: [{from: [a], set: {z: y}}]}}}\n", "label z is not one of"),
        (METRIC + "engines: {e: {sources: {llm_x: [{from: [a], values: {z: {}}}]}}}\n", "which nothing sets"),
        (METRIC + "engines: {e: {surces: {}}}\n", "engines.e.surces: Extra inputs"),
        (
            OUTCOME + "engines: {e: {sources: {r: [{from: [a], labels: {why: outcome}}]}}}\n",
            "set: its value for samples",
        ),
        (OUTCOME + "engines: {e: {sources: {r: [{from: [a], by_help: {outcome: {b: c}}}]}}}\n", "needs a default"),
    ],
)
def test_a_malformed_catalogue_is_refused_with_file_and_entry(tmp_path: Path, body: str, complaint: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(body)

    with pytest.raises(CatalogueError) as caught:
        load_catalogue(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"none\.yaml: No such file"):
        load_catalogue(tmp_path / "none.yaml")


def test_a_process_reads_the_packaged_catalogue_once() -> None:
    assert load_catalogue() is load_catalogue()
