"""The generated dashboards: every query parses and names existing metrics, and Grafana's schema has every key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import bargauge, stat, table, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from alerts.packs import EXAMPLE, load_pack
from collectors.catalogue.model import load_catalogue
from controlplane.api.backups.metrics import GAUGES
from dashboards.generate import all_dashboards, write_dashboards

OWN = {"up", "target_up", "ALERTS", *(f"controlplane_backup_{name}" for name, *_ in GAUGES)}
"""Metrics that scraping and rule evaluation write, as in Prometheus, and those of the control plane's backups."""
RECORDED = {rule.name for pack in ("slo", "gpu") for group in load_pack(pack, options=EXAMPLE) for rule in group.rules}
"""Series that the rules of SLOs record."""
NAMES = sorted(all_dashboards())


@pytest.fixture(params=NAMES)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(all_dashboards()[request.param]))
    return found


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\(([^,]+), \w+\)", variable["query"]["query"])
            assert found, variable
            yield f"variable {variable['name']}", found[1]


def metric_names(expr: str) -> set[str]:
    """Return the metric names in an expression: identifiers before a selector, or alone."""
    bare = re.sub(r'"(\\.|[^"\\])*"', '""', expr)
    bare = re.sub(r"\{[^}]*\}", "{}", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\bgroup_(left|right)\b", "", bare)
    words = set(re.findall(r"(?<![\w:$])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", bare))
    return words - {"or", "and", "unless", "bool", "offset", "m", "h", "s", "d"}


def captured_names(fixtures: Path) -> set[str]:
    return {
        re.split(r"[{\s]", line)[0]
        for path in fixtures.glob("*.prom")
        for line in path.read_text().splitlines()
        if line and not line.startswith("#")
    }


def test_every_query_parses(dashboard: dict[str, Any]) -> None:
    found = list(queries(dashboard))
    assert len(found) > 5
    for title, expr in found:
        assert promql_parser.parse(expr), title


def test_every_query_names_a_metric_of_the_catalogue_or_of_a_capture(dashboard: dict[str, Any], fixtures: Path) -> None:
    catalogue, captured = load_catalogue(), captured_names(fixtures)
    for title, expr in queries(dashboard):
        names = metric_names(expr)
        assert names, (title, expr)
        unknown = {n for n in names if n not in OWN | RECORDED and n not in captured and catalogue.family(n) is None}
        assert not unknown, f"{dashboard['title']} / {title}: {unknown} in {expr}"


def test_the_check_on_names_can_fail() -> None:
    assert metric_names('sum by (model) (rate(llm_nonsense_total{a="b"}[5m])) / vllm:x or vector(0)') == {
        "llm_nonsense_total",
        "vllm:x",
    }


def test_every_panel_on_backups_says_what_it_shows_in_which_unit() -> None:
    panels = [panel for panel in all_dashboards()["backups"]["panels"] if panel["type"] != "row"]
    assert len(panels) > 9
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] != "short", panel["title"]


def lost(ours: Any, theirs: Any, place: str = "$") -> Iterator[str]:
    """Yield each place of `ours` that is missing or different in `theirs`."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            if not isinstance(theirs, dict) or key not in theirs:
                if value is not None and value != []:
                    yield f"{place}.{key}"
            else:
                yield from lost(value, theirs[key], f"{place}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, value in enumerate(ours):
            yield from lost(value, theirs[number], f"{place}[{number}]")
    elif ours != theirs:
        yield f"{place}: {ours!r} became {theirs!r}"


def test_grafanas_own_schema_reads_and_keeps_every_key(dashboard: dict[str, Any]) -> None:
    theirs = json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))
    assert list(lost(dashboard, theirs)) == []


def test_the_check_against_the_schema_can_fail(dashboard: dict[str, Any]) -> None:
    dashboard["panels"][1]["span"] = 4
    dashboard["panels"][1]["fieldConfig"]["defaults"]["unitt"] = "s"
    theirs = json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))
    assert sorted(lost(dashboard, theirs)) == ["$.panels[1].fieldConfig.defaults.unitt", "$.panels[1].span"]


SHAPES = {"timeseries": timeseries, "stat": stat, "bargauge": bargauge, "table": table}


def test_grafanas_own_schema_keeps_every_option_of_a_panel_type(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        shape = SHAPES[panel["type"]]
        options = json.loads(json.dumps(shape.Options.from_json(panel["options"]), cls=JSONEncoder))
        assert list(lost(panel["options"], options)) == [], panel["title"]
        if custom := panel["fieldConfig"]["defaults"].get("custom"):
            kept = json.loads(json.dumps(shape.FieldConfig.from_json(custom), cls=JSONEncoder))
            assert list(lost(custom, kept)) == [], panel["title"]


def test_panels_have_their_own_ids_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    ids = [p["id"] for p in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        own = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert not own & cells, panel["title"]
        cells |= own


def test_panels_are_in_todays_shape(dashboard: dict[str, Any]) -> None:
    assert dashboard["schemaVersion"] == 39
    for panel in dashboard["panels"]:
        assert panel["type"] in {"row", "timeseries", "stat", "bargauge", "table"}
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert [t["refId"] for t in panel["targets"]] == [chr(65 + i) for i in range(len(panel["targets"]))]


def test_files_are_written_and_the_same_every_time(tmp_path: Path) -> None:
    first = [p.read_bytes() for p in write_dashboards(tmp_path / "deep" / "one")]
    paths = write_dashboards(tmp_path / "two")
    assert [p.name for p in paths] == ["fleet.json", "triton.json", "vllm.json", "gpu.json", "backups.json"]
    assert [p.read_bytes() for p in paths] == first
    assert len({json.loads(b)["uid"] for b in first}) == 5
