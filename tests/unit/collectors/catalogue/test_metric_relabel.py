"""Rules for samples apply to their stored labels, before the catalogue maps what they leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collectors.catalogue.mapping import canonical_layout, missing
from collectors.catalogue.model import load_catalogue
from collectors.errors import Relabelled
from collectors.exposition.layout_cache import LayoutCache
from collectors.exposition.parser import Parsed
from collectors.relabel import Action, RelabelRule
from collectors.samples import Layout, Series, labels_of
from collectors.target import Target

CATALOGUE = load_catalogue()
PAGE = b"""\
vllm:num_requests_running{model_name="org/chat",engine="0"} 3
vllm:num_requests_waiting{model_name="org/chat",engine="0"} 4
vllm:prompt_tokens_total{model_name="org/chat",engine="0"} 50
go_info{version="1",job="x"} 1
"""


def rule(action: str = "replace", *sources: str, **fields: Any) -> RelabelRule:
    return RelabelRule(Action(action), sources, **fields)


class Cached:
    """The layout cache of a target with these rules."""

    def __init__(self, *rules: RelabelRule, engine: str = "vllm", **labels: str) -> None:
        self.target = Target(
            engine, "http://a:1/metrics", engine, "a:1", labels_of(labels), metric_relabel=tuple(rules)
        )
        self.built = 0
        self.cache = LayoutCache(self._built)

    def _built(self, parsed: Parsed) -> Layout:
        self.built += 1
        return canonical_layout(parsed.series, parsed.metadata, self.target, CATALOGUE)

    def read(self, body: bytes) -> dict[Series, float]:
        """Return every raw and canonical series with its value."""
        layout, values = self.cache.read(body)
        raw = dict(zip(layout.raw, values.tolist(), strict=True))
        return raw | {v.series: v.factor * float(sum(values[list(v.columns)])) for v in layout.views}


def of(found: dict[Series, float], name: str) -> list[tuple[dict[str, str], float]]:
    return [(dict(series.labels), value) for series, value in found.items() if series.name == name]


def test_a_dropped_sample_is_neither_a_column_nor_in_a_view_and_the_others_keep_their_values() -> None:
    cached = Cached(rule("drop", "__name__", regex="vllm:num_requests_running"))
    found = cached.read(PAGE)
    assert of(found, "vllm:num_requests_running") == of(found, "llm_requests_running") == []
    assert [value for _, value in of(found, "llm_requests_waiting")] == [4.0]
    assert [value for _, value in of(found, "llm_tokens_total")] == [50.0]
    layout, values = cached.cache.read(PAGE)
    assert layout.picked is not None
    assert (layout.picked.positions.tolist(), layout.picked.left) == ([1, 2, 3], 3)
    assert (values.tolist(), cached.cache.samples) == ([4.0, 50.0, 1.0], 4)
    assert "llm_requests_running" in missing(layout, CATALOGUE, "vllm")


def test_rules_run_once_while_only_values_change() -> None:
    cached = Cached(rule("drop", "__name__", regex="go_.*"))
    first, _ = cached.cache.read(PAGE)
    again, values = cached.cache.read(PAGE.replace(b"} 3\n", b"} 30\n"))
    assert again is first
    assert (values.tolist(), cached.built) == ([30.0, 4.0, 50.0], 1)
    cached.cache.read(PAGE + b"more 1\n")
    assert cached.built == 2


def test_rules_that_only_rewrite_leave_all_columns_in_place() -> None:
    layout, _ = Cached(rule("replace", target_label="team", replacement="a")).cache.read(PAGE)
    assert layout.picked is None
    assert {dict(series.labels)["team"] for series in layout.raw} == {"a"}


def test_the_catalogue_maps_the_new_names_and_labels() -> None:
    rules = [
        rule("replace", "__name__", regex="vllm:(num_requests_running)", target_label="__name__", replacement="was_$1"),
        rule("replace", "model_name", regex="org/(.*)", target_label="model_name"),
    ]
    found = Cached(*rules).read(PAGE)
    assert of(found, "llm_requests_running") == []
    ((labels, value),) = of(found, "llm_requests_waiting")
    assert (labels["served_model"], value) == ("chat", 4.0)
    back = rule("replace", "__name__", regex="was_(.*)", target_label="__name__", replacement="vllm:$1")
    ((labels, value),) = of(Cached(*rules, back).read(PAGE), "llm_requests_running")
    assert (labels["served_model"], value) == ("chat", 3.0)


def test_labels_of_the_target_hide_no_label_of_the_engine_from_the_catalogue() -> None:
    plain = Cached(model_name="mine", zone="eu").read(PAGE)
    kept = Cached(rule("keep", "__name__", regex=".*"), model_name="mine", zone="eu").read(PAGE)
    assert kept == plain
    ((labels, _),) = of(kept, "vllm:num_requests_running")
    assert (labels["model_name"], labels["exported_model_name"], labels["zone"]) == ("mine", "org/chat", "eu")
    ((labels, _),) = of(kept, "llm_requests_running")
    assert (labels["served_model"], labels["zone"]) == ("org/chat", "eu")


def test_of_series_that_become_equal_the_first_counts() -> None:
    cached = Cached(rule("labeldrop", regex="code"), engine="custom")
    found = cached.read(b'a{code="1"} 1\na{code="2"} 2\nb 3\na 4\n')
    assert found == {
        Series("a", labels_of({"job": "custom", "instance": "a:1"})): 1.0,
        Series("b", labels_of({"job": "custom", "instance": "a:1"})): 3.0,
    }
    layout, _ = cached.cache.read(b'a{code="1"} 1\na{code="2"} 2\nb 3\na 4\n')
    assert layout.picked is not None
    assert (layout.picked.positions.tolist(), layout.picked.left) == ([0, 2], 4)


def test_a_sample_that_loses_all_its_labels_is_dropped_and_one_that_loses_its_name_fails_the_scrape() -> None:
    assert Cached(rule("labeldrop", regex=".*"), engine="custom").read(b"a 1\n") == {}
    cached = Cached(rule("labeldrop", regex="__name__"), engine="custom")
    with pytest.raises(Relabelled, match="leave a sample of 'a' without a name; keep its label __name__"):
        cached.read(b"a 1\n")
    assert cached.read(b"\n") == {}


def test_a_sample_with_a_canonical_name_is_completed_after_the_rules() -> None:
    named = rule("replace", "__name__", regex="running", target_label="__name__", replacement="llm_requests_running")
    ((labels, value),) = of(Cached(named, model="chat").read(b"running 5\n"), "llm_requests_running")
    assert (labels["engine"], labels["model"], labels["node"], value) == ("vllm", "chat", "a", 5.0)


def test_labels_of_the_page_take_precedence_where_they_are_honoured() -> None:
    for rules in ((), (rule(target_label="added", replacement="y"),)):
        cached = Cached(*rules, engine="custom", zone="eu")
        cached.target = replace(cached.target, honor_labels=True)
        extra = {"added": "y"} if rules else {}
        assert cached.read(b'a{job="own",zone="us"} 1\nb{x="1"} 2\n') == {
            Series("a", labels_of({"job": "own", "instance": "a:1", "zone": "us", **extra})): 1.0,
            Series("b", labels_of({"job": "custom", "instance": "a:1", "zone": "eu", "x": "1", **extra})): 2.0,
        }
