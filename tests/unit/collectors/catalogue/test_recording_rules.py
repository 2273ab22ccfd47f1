"""Text of the exported rules. tests/contract checks their results in a real Prometheus."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from collectors.catalogue.model import GUEST, Catalogue, load_catalogue
from collectors.catalogue.recording_rules import recording_rules

CATALOGUE = load_catalogue()
METRICS = {
    "a_seconds": {"type": "histogram", "unit": "s", "help": ""},
    "b_total": {"type": "counter", "unit": "", "help": "", "labels": ["outcome"]},
}


def parsed(text: str) -> dict[str, list[dict[str, Any]]]:
    return {group["name"]: group["rules"] for group in YAML(typ="safe").load(text)["groups"]}


def of(engine: dict[str, Any]) -> Catalogue:
    return Catalogue.model_validate({"metrics": METRICS, "engines": {"x": engine}})


def test_every_scraped_metric_of_every_engine_has_its_rules_once() -> None:
    exported = recording_rules(CATALOGUE)
    groups = parsed(exported.text)
    for name, engine in CATALOGUE.engines.items():
        records = [rule["record"] for rule in groups.get(f"canonical-{name}", [])]
        assert len(records) == len(set(records))
        assert {CATALOGUE.family(record) for record in records} == set(engine.sources)
        assert all(rule["labels"] == {"engine": name} for rule in groups.get(f"canonical-{name}", []))
    assert exported.rules == sum(len(rules) for rules in groups.values())


def test_every_raw_name_is_read_from_the_engines_own_job() -> None:
    groups = parsed(recording_rules(CATALOGUE, {"vllm": "vllm-.*|chat"}).text)
    for name, engine in CATALOGUE.engines.items():
        text = " ".join(rule["expr"] for rule in groups.get(f"canonical-{name}", []))
        for of_metric in engine.sources.values():
            for source in of_metric:
                for raw in (*source.from_, *source.sum):
                    assert re.search(rf"(?<![\w:]){re.escape(raw)}(_bucket|_sum|_count)?\{{", text), raw
        sources = [source for of_metric in engine.sources.values() for source in of_metric]
        selects = {raw for source in sources for raw in (*source.where, *source.unless)}
        chosen = rf'(, ({"|".join(sorted(selects)) or "none"})=~?"[^"]*")+(?=}})'
        text = text.replace(GUEST, "")
        assert set(re.findall(r"\{(.+?)\}", re.sub(chosen, "", text))) <= {
            'job=~"vllm-.*|chat"' if name == "vllm" else f'job="{name}"', "1", "1,6", "3", "6"
        }  # fmt: skip


def test_whether_a_target_answers_is_recorded_with_its_kind_of_engine() -> None:
    rules = parsed(recording_rules(CATALOGUE, {"vllm": "vllm-.*|chat"}).text)["targets"]
    kinds = {rule["labels"]["engine"]: rule["expr"].strip() for rule in rules}
    assert {rule["record"] for rule in rules} == {"target_up"}
    assert kinds["vllm"] == 'up{job=~"vllm-.*|chat"}'
    assert kinds["gateway"] == 'up{job="gateway"}'
    assert CATALOGUE.engines.keys() - kinds.keys() == {  # it sends these itself
        *("probe", "readiness", "ollama", "fastchat", "mii", "openai", "anthropic", "controlplane"),
        *("bedrock", "sagemaker", "azure-openai", "vertex"),
    }


def test_what_is_native_and_what_differs_is_said_in_the_file() -> None:
    exported = recording_rules(CATALOGUE)
    comments = " ".join(line.lstrip("# ") for line in exported.text.splitlines() if line.startswith("#"))
    for what, reason in exported.unexpressed:
        assert f"{what}: {reason}" in comments
    named = {name for what, _ in exported.unexpressed for name, _, _ in [what.partition(":")]}
    assert {name for name, engine in CATALOGUE.engines.items() if engine.native} <= named


def test_bucket_bounds_that_promql_cannot_compute_are_left_out_and_said() -> None:
    engine = {"sources": {"a_seconds": [{"from": ["raw"], "factor": 3600}], "b_total": [{"from": ["n"]}]}}
    exported = recording_rules(of(engine))
    assert [rule["record"] for rule in parsed(exported.text)["canonical-x"]] == ["b_total"]
    assert ("x: a_seconds", "bucket bounds × 3600: PromQL cannot compute with labels, only shift a decimal point") in (
        exported.unexpressed
    )


def test_a_label_that_is_translated_twice_is_left_out_and_said() -> None:
    values = {"outcome": {"*": "x{}"}}
    engine = {
        "labels": {"result": "outcome"},
        "values": values,
        "sources": {"b_total": [{"from": ["n"], "values": values}]},
    }
    exported = recording_rules(of(engine))
    assert parsed(exported.text).keys() == {"targets"}
    assert ("x: b_total", "outcome is translated twice") in exported.unexpressed


def test_labels_of_targets_are_kept_where_they_are_named() -> None:
    (rule,) = parsed(recording_rules(of({"sources": {"b_total": [{"from": ["n"]}]}}), labels=["zone"]).text)[
        "canonical-x"
    ]
    assert rule["expr"].startswith("max by (instance, node, model, version, served_model, source, simulated, zone) (")


def test_a_value_that_promql_would_read_otherwise_is_quoted() -> None:
    engine = {"sources": {"b_total": [{"from": ["n"], "set": {"outcome": 'a"b\\c$1'}}]}}
    (rule,) = parsed(recording_rules(of(engine)).text)["canonical-x"]
    assert r'"outcome", "a\"b\\c$$1", "", ""' in rule["expr"]


@pytest.mark.needs("prometheus")
def test_promtool_takes_it(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool
    exported = recording_rules(CATALOGUE, {"dcgm": "dcgm.*"}, ["zone", "rack"])
    (tmp_path / "rules.yml").write_text(exported.text)
    checked = subprocess.run([promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {exported.rules} rules found" in checked.stdout
    assert "duplicate" not in checked.stdout + checked.stderr
