"""Drafts of catalogue entries, from pages of engines that are hidden from the catalogue."""

from __future__ import annotations

import copy
import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from collectors.catalogue.draft import draft
from collectors.catalogue.examine import examine
from collectors.catalogue.guesses import families, program_words, unit_factor
from collectors.catalogue.model import Catalogue, load_catalogue
from collectors.exposition.parser import parse

FIXTURES = Path(__file__).parents[3] / "fixtures"
TGI = b"""\
# TYPE tgi_request_count counter
tgi_request_count 9
# TYPE tgi_request_success counter
tgi_request_success 7
# TYPE tgi_request_failure counter
tgi_request_failure{err="overloaded"} 1
tgi_request_failure{err="generation"} 1
# TYPE tgi_request_duration histogram
tgi_request_duration_bucket{le="+Inf"} 7
tgi_request_duration_sum 14
tgi_request_duration_count 7
# TYPE tgi_request_queue_duration histogram
tgi_request_queue_duration_bucket{le="+Inf"} 7
tgi_request_queue_duration_sum 0.7
tgi_request_queue_duration_count 7
# TYPE tgi_request_mean_time_per_token_duration histogram
tgi_request_mean_time_per_token_duration_bucket{le="+Inf"} 7
tgi_request_mean_time_per_token_duration_sum 0.35
tgi_request_mean_time_per_token_duration_count 7
# TYPE tgi_request_input_length histogram
tgi_request_input_length_bucket{le="+Inf"} 7
tgi_request_input_length_sum 700
tgi_request_input_length_count 7
# TYPE tgi_batch_current_size gauge
tgi_batch_current_size 2
# TYPE tgi_queue_size gauge
tgi_queue_size 3
"""
CAPTURES = ("captures/litellm-1.108.prom", "captures/ray-serve-2.60.prom", "captures/vllm-0.32-cpu.prom")


def page_of(name: str) -> bytes:
    return TGI if name == "tgi" else (FIXTURES / name).read_bytes()


@cache
def catalogue_data() -> Any:
    """Return the content of catalogue.yaml. It takes a third of a second to read, and is not to be changed."""
    return YAML(typ="safe").load((resources.files("collectors.catalogue") / "catalogue.yaml").read_text())


def without(engine: str, entry: str = "") -> Catalogue:
    """Return the catalogue without an engine, and with a drafted entry."""
    yaml: Any = YAML(typ="safe")
    data = copy.deepcopy(catalogue_data())
    del data["engines"][engine]
    if engine == "vllm":
        data["engines"]["triton"]["hosts"] = []
        sources = data["engines"]["triton"]["sources"]
        data["engines"]["triton"]["sources"] = {name: s for name, s in sources.items() if "vllm:" not in str(s)}
        data["engines"]["triton"]["expected"] = []
    data["engines"].update(yaml.load(f"engines:\n{entry}")["engines"] or {})
    return Catalogue.model_validate(data)


def drafted(engine: str, page: str) -> tuple[str, dict[str, str]]:
    """Return the name of a drafted entry, and the values that it gives its page, by canonical metric."""
    body = page_of(page)
    entry = examine(body, without(engine)).draft
    found = examine(body, without(engine, entry))
    assert (found.missing, found.draft) == ((), "")
    return found.engine, {metric.metric: metric.value for metric in found.metrics}


def test_a_draft_for_litellm_maps_what_its_own_entry_maps() -> None:
    name, values = drafted("litellm", "captures/litellm-1.108.prom")
    own = examine(page_of("captures/litellm-1.108.prom"), load_catalogue())
    assert name == "litellm"
    known = {metric.metric: metric.value for metric in own.metrics}
    # That a request without a key has no status is in no word of the page.
    assert known.pop("llm_requests_total") == "error 2, invalid 7, success 46"
    assert values.pop("llm_requests_total") == "error 5, invalid 4, success 46"
    assert {metric: values[metric] for metric in known} == known


def test_a_draft_for_ray_converts_milliseconds_and_reads_statuses() -> None:
    name, values = drafted("ray", "captures/ray-serve-2.60.prom")
    own = {m.metric: m.value for m in examine(page_of("captures/ray-serve-2.60.prom"), load_catalogue()).metrics}
    assert name == "ray-serve"
    for metric in ("llm_requests_total", "llm_request_duration_seconds", "llm_requests_waiting"):
        assert values[metric] == own[metric]
    assert "llm_requests_running" in values


def test_a_draft_for_tgi_counts_failures_beside_successes() -> None:
    assert drafted("tgi", "tgi") == (
        "tgi",
        {
            "llm_requests_total": "error 2, success 7",
            "llm_request_duration_seconds": "7 counted, mean 2 s",
            "llm_time_per_output_token_seconds": "7 counted, mean 0.05 s",
            "llm_queue_duration_seconds": "7 counted, mean 0.1 s",
            "llm_requests_running": "2",
            "llm_requests_waiting": "3",
        },
    )


def test_a_draft_for_vllm_has_the_numbers_of_its_own_entry() -> None:
    name, values = drafted("vllm", "captures/vllm-0.32-cpu.prom")
    own = {m.metric: m.value for m in examine(page_of("captures/vllm-0.32-cpu.prom"), load_catalogue()).metrics}
    assert name == "vllm"
    unproposed = {"llm_prefix_cache_queries_total", "llm_prefix_cache_hits_total", "llm_engine_start_time_seconds"}
    assert set(own) - set(values) == {*unproposed, "llm_model_state"}
    same = set(values) - {"llm_requests_total"}
    assert {metric: values[metric] for metric in same} == {metric: own[metric] for metric in same}


@pytest.mark.parametrize("page", ["tgi", *CAPTURES])
def test_every_guess_of_a_draft_asks_to_be_checked(page: str) -> None:
    parsed = parse(page_of(page))
    for line in draft(parsed.series, parsed.metadata).splitlines():
        if re.match(r" +(- |labels:|values:|combine:|expected:)", line):
            assert "# check: " in line, line


def test_a_unit_that_nothing_tells_is_asked_for() -> None:
    parsed = parse(TGI)
    text = draft(parsed.series, parsed.metadata)
    assert "from: [tgi_request_duration]   # check: it has no HELP; the unit, seconds here, is in neither" in text


@pytest.mark.parametrize(
    ("name", "help_text", "expected"),
    [
        ("x_latency_ms", "", (1e-3, "name")),
        ("x_latency_microseconds", "Latency in seconds", (1e-6, "name")),
        ("x_latency", "Latency (milliseconds) of it", (1e-3, "HELP")),
        ("x_latency_seconds", "", (1.0, "name")),
        ("x_latency", "How long it takes", (1.0, "")),
    ],
)
def test_a_unit_is_read_from_the_name_then_from_help(name: str, help_text: str, expected: tuple[float, str]) -> None:
    page = f'# HELP {name} {help_text}\n# TYPE {name} histogram\n{name}_bucket{{le="+Inf"}} 1\n'
    parsed = parse(page.encode())
    (family,) = families(parsed.series, parsed.metadata)
    assert unit_factor(family) == expected


def test_a_summary_is_drafted_by_its_sum_and_its_count() -> None:
    page = b"# TYPE a_request_latency_ms summary\na_request_latency_ms_sum 500\na_request_latency_ms_count 2\n"
    entry = examine(page, load_catalogue()).draft
    assert "from: [a_request_latency_ms_sum]" in entry
    found = examine(page, without("tgi", entry))
    assert [m.value for m in found.metrics if m.metric == "llm_request_duration_seconds"] == ["2 counted, mean 0.25 s"]
    assert [m.value for m in found.metrics if m.metric == "llm_requests_total"] == ["unknown 2"]


def test_a_program_without_anything_like_requests_gets_no_draft() -> None:
    for page in (b"", b"process_cpu_seconds_total 1\n", b"zebra_stripes 4\n", b"node_load1 1\nnode_requests_total 2\n"):
        assert examine(page, load_catalogue()).draft == ""


def test_the_words_of_a_program_are_those_that_most_names_begin_with() -> None:
    assert program_words(["ray_serve_a", "ray_serve_b", "ray_serve_c", "http_d"]) == "ray serve"
    assert program_words(["vllm:a_b", "vllm:a_c", "vllm:d"]) == "vllm"
    assert program_words(["tgi_request_a", "tgi_request_b", "tgi_request_c"]) == "tgi"
    assert program_words(["request_a", "request_b", "request_c"]) == ""
    assert program_words(["request_a", "latency_b", "x"]) == ""


names = st.from_regex(r"[a-z]{1,4}_(requests_total|latency_ms|in_flight|tokens_total|queue_size)", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(names, texts, texts), max_size=6))
def test_a_draft_of_any_page_is_an_entry_of_a_catalogue(lines: list[tuple[str, str, str]]) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"').replace("\0", "").replace("\r", "")

    page = "".join(
        f'# HELP {name} {escaped(told)}\n{name}{{status="{escaped(value)}",model="{escaped(value)}"}} 1\n'
        for name, told, value in lines
    )
    parsed = parse(page.encode())
    if entry := draft(parsed.series, parsed.metadata):
        without("tgi", entry)
