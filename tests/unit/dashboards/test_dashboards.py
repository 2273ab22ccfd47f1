"""The generated dashboards: every query parses and names existing metrics, and Grafana's schema has every key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import bargauge, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from alerts.packs import BUILTIN, EXAMPLE, load_pack, threshold_values
from collectors.catalogue.model import load_catalogue
from controlplane.cli.verbs.dashboards import DASHBOARDS
from dashboards.generate import BOARDS, PROVIDER, all_dashboards, drift, write_dashboards
from dashboards.settings import PROVISIONED_AT, Settings

ROOT = Path(__file__).parents[3]
SETTINGS = Settings(threshold_values(), "https://llm.example.org")
SCRAPED = {"up", "target_up", "ALERTS", "scrape_duration_seconds", "collector_metric_present"} | {
    "log_exporter_ship_up",
    "log_exporter_shipped_total",
    "log_exporter_ship_dropped_total",
}
"""Metrics that scraping and rule evaluation write, as in Prometheus, and those of log-exporter itself."""
RECORDED = {
    rule.name for pack in ("slo", "gpu", "llm") for group in load_pack(pack, options=EXAMPLE) for rule in group.rules
}
"""Series that the packs' rules record."""
OWN = {
    f"{name}{end}"
    for page in ("reference/http-api.md", "gateway.md")
    for name in re.findall(r"^\| `(controlplane_[a-z_]+)`", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    for end in ("", "_bucket")
}
"""The control plane's own metrics, as its reference names them; a test compares that page with a running one."""
PRODUCTS = {"LiteLLM", "LoRA", "TensorRT", "NVLink", "SGLang", "PCIe"}
BARE = re.compile(r"`([a-z_]+)`")
MAPPED = {
    f"{name}{end}"
    for name in re.findall(r"[a-zA-Z_:][\w:]+", (ROOT / "collectors" / "catalogue" / "catalogue.yaml").read_text())
    for end in ("", "_bucket")
}
"""The engines' names that the catalogue maps, those that are known from documentation only among them."""
GATEWAYS = {
    f"controlplane_gateway_{name}{end}"
    for line in (ROOT / "docs" / "gateway.md").read_text().splitlines()
    if line.startswith("| `")
    for name in BARE.findall(line.split("|")[1])
    for end in ("", "_bucket")
}
"""The gateways' metrics: their page leaves the beginning of the names out."""
NAMES = sorted(BOARDS)
NOT_DRAWN = {
    "controlplane_clock_step_seconds": "ClockStepped tells it; the steps are drawn",
    "controlplane_clock_step_timestamp_seconds": "ClockStepped tells it; the steps are drawn",
    "controlplane_heartbeats_total": "the age of each heartbeat is drawn",
    "controlplane_pool_waiting": "the wait for a thread is drawn",
    "controlplane_remote_write_bytes_sent_total": "the samples are drawn",
    "controlplane_remote_write_samples_pending": "the bytes of the queue are drawn",
    "controlplane_storage_pauses_total": "a pause is drawn while it lasts",
    "controlplane_store_sources": "the series and the targets are drawn",
    "gpu_info": "labels of a GPU; the console shows them",
    "gpu_memory_reserved_bytes": "a part of the memory in use",
    "llm_backends_expected": "backends that are not ready are drawn",
}
"""Metrics of the catalogue and of the control plane that are on no dashboard, with the reason."""


@pytest.fixture(params=NAMES)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(BOARDS[request.param](SETTINGS)))
    return found


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
            assert found, variable
            yield f"variable {variable['name']}", found[1]


def metric_names(expr: str) -> set[str]:
    """Return the metric names in an expression: identifiers before a selector, or alone."""
    joined = {name for found in re.findall(r'__name__=~"([^"]+)"', expr) for name in found.split("|")}
    bare = re.sub(r'"(\\.|[^"\\])*"', '""', expr)
    bare = re.sub(r"\{[^}]*\}", "{}", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\bgroup_(left|right)\b", "", bare)
    words = set(re.findall(r"(?<![\w:$])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", bare))
    return words - {"or", "and", "unless", "bool", "offset", "m", "h", "s", "d"} | joined


def captured_names(fixtures: Path) -> set[str]:
    return {
        re.split(r"[{\s]", line)[0]
        for path in fixtures.rglob("*.prom")
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
        known = SCRAPED | OWN | GATEWAYS | MAPPED | RECORDED | captured
        unknown = {n for n in names if n not in known and catalogue.family(n) is None}
        assert not unknown, f"{dashboard['title']} / {title}: {unknown} in {expr}"


def test_every_canonical_and_own_metric_is_on_a_dashboard_or_listed_with_the_reason() -> None:
    known = set(load_catalogue().metrics) | {name for name in OWN if not name.endswith("_bucket")}
    drawn = set()
    for board in all_dashboards(SETTINGS).values():
        for _, expr in queries(board):
            drawn |= metric_names(expr)
    drawn |= {re.sub("_(bucket|sum|count)$", "", name) for name in drawn}
    assert sorted(known - drawn) == sorted(NOT_DRAWN)


def test_every_alert_that_a_description_names_exists(dashboard: dict[str, Any]) -> None:
    rules = [rule for pack in BUILTIN for group in load_pack(pack, options=EXAMPLE) for rule in group.rules]
    alerts = {rule.name for rule in rules}
    for panel in dashboard["panels"]:
        named = set(re.findall(r"\b(?:[A-Z]+[a-z0-9]+){2,}\b", panel.get("description", "")))
        assert named - PRODUCTS <= alerts, panel["title"]


def test_the_check_on_names_can_fail() -> None:
    assert metric_names('sum by (model) (rate(llm_nonsense_total{a="b"}[5m])) / vllm:x or vector(0)') == {
        "llm_nonsense_total",
        "vllm:x",
    }


def test_every_panel_says_what_it_shows_in_which_unit(dashboard: dict[str, Any]) -> None:
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) > 8
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] != "short", panel["title"]


def test_every_query_and_variable_is_of_the_chosen_fleets(dashboard: dict[str, Any]) -> None:
    for title, expr in queries(dashboard):
        if title == "variable fleet":
            assert expr == "target_up"
            continue
        selectors = len(re.findall(r'fleet=~"\$fleet"', expr))
        # A metric without a selector would be of all fleets.
        bare = [n for n in metric_names(expr) if not re.search(re.escape(n) + r"\{|__name__=~", expr)]
        assert selectors and not bare, (title, bare, expr)


def test_limits_are_those_of_fleet_yaml() -> None:
    mine = Settings({**SETTINGS.thresholds, "latency_p99": 3.5, "temperature": 70.0})
    assert limits_of("fleet", "P99 latency", mine) == [None, 3.5]
    assert limits_of("gpu", "Temperature", mine) == [None, 70.0]
    assert limits_of("fleet", "P99 latency", SETTINGS) == [None, 2.0]


def limits_of(board: str, title: str, settings: Settings) -> list[float | None]:
    """Return the steps of a panel's limits."""
    (panel,) = [p for p in BOARDS[board](settings)["panels"] if p["title"] == title]
    return [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]


def test_a_colour_below_a_limit_that_must_not_be_fallen_short_of_is_red() -> None:
    (panel,) = [p for p in BOARDS["model"](SETTINGS)["panels"] if p["title"] == "Error budget left"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(s["value"], s["color"]) for s in steps] == [(None, "red"), (0.0, "yellow"), (0.25, "green")]


def links(dashboard: dict[str, Any]) -> set[str]:
    """Return the addresses of all links of a dashboard."""
    found = {link["url"] for link in dashboard["links"] if link["url"]}
    for panel in dashboard["panels"]:
        found |= {link["url"] for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links", [])}
    return found


def test_dashboards_link_to_each_other_to_the_console_and_to_runbooks(dashboard: dict[str, Any]) -> None:
    menu, *others = dashboard["links"]
    assert (menu["type"], menu["tags"], menu["includeVars"], menu["keepTime"]) == ("dashboards", ["llm"], True, True)
    assert [link["title"] for link in others] == ["Console", "Runbooks"]
    assert all(url.startswith(("https://llm.example.org", "/d/llm-")) for url in links(dashboard))
    known = {board["uid"] for board in all_dashboards(SETTINGS).values()}
    assert {url.split("/")[2].split("?")[0] for url in links(dashboard) if url.startswith("/d/")} <= known


def test_links_to_a_console_that_is_not_known_are_left_out() -> None:
    for board in all_dashboards(Settings(SETTINGS.thresholds)).values():
        assert [link["title"] for link in board["links"]] == ["Dashboards"]
        assert all(url.startswith("/d/llm-") for url in links(board))
    written = Settings(SETTINGS.thresholds, runbooks="https://git.example.org/runbooks")
    assert "https://git.example.org/runbooks/${__data.fields.alertname:percentencode}.md" in links(
        BOARDS["alerts"](written)
    )
    assert "https://llm.example.org/runbooks/${__data.fields.alertname:percentencode}" in links(
        BOARDS["alerts"](SETTINGS)
    )


def test_names_in_links_are_encoded(dashboard: dict[str, Any]) -> None:
    for url in links(dashboard):
        assert not re.findall(r"\$\{__(?:data|field)[^:}]*\}", url), url


def test_alerts_and_rollouts_mark_every_chart(dashboard: dict[str, Any]) -> None:
    marks = dashboard["annotations"]["list"]
    assert [(mark["name"], mark["enable"], mark["datasource"]["uid"]) for mark in marks] == [
        ("Alerts", True, "${datasource}"),
        ("Rollouts", True, "${datasource}"),
    ]
    of_models = any(v["name"] == "model" for v in dashboard["templating"]["list"])
    for mark in marks:
        assert promql_parser.parse(mark["expr"])
        assert ("$model" in mark["expr"]) == of_models


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


SHAPES = {
    "timeseries": timeseries,
    "stat": stat,
    "bargauge": bargauge,
    "table": table,
    "heatmap": heatmap,
    "state-timeline": statetimeline,
}


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
        assert panel["type"] in {"row", *SHAPES}
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert [t["refId"] for t in panel["targets"]] == [chr(65 + i) for i in range(len(panel["targets"]))]


def test_files_are_written_and_the_same_every_time(tmp_path: Path) -> None:
    first = [p.read_bytes() for p in write_dashboards(tmp_path / "deep" / "one", SETTINGS)]
    paths = write_dashboards(tmp_path / "two", SETTINGS)
    assert [str(p.relative_to(tmp_path / "two")) for p in paths] == [*(f"{name}.json" for name in BOARDS), PROVIDER]
    assert [p.read_bytes() for p in paths] == first
    assert len({json.loads(text)["uid"] for text in first[:-1]}) == len(BOARDS)
    provider = yaml.safe_load(first[-1])["providers"][0]
    assert (provider["type"], provider["options"]) == ("file", {"path": PROVISIONED_AT})
    assert {o.name: o.default for o in DASHBOARDS[0].options}["seen_at"] == PROVISIONED_AT


def test_a_dollar_in_the_folders_name_is_no_variable_of_grafanas_environment(tmp_path: Path) -> None:
    write_dashboards(tmp_path, SETTINGS, "/srv/$HOME/a: b")
    assert yaml.safe_load((tmp_path / PROVIDER).read_text())["providers"][0]["options"] == {"path": "/srv/$$HOME/a: b"}


def test_files_are_replaced_whole_and_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "gpu.json").symlink_to(tmp_path / "real.json")
    write_dashboards(tmp_path / "out", SETTINGS)
    assert (tmp_path / "out" / "gpu.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["uid"] == "llm-gpu"
    assert not list(tmp_path.rglob(".*.new"))


def test_a_set_beside_others_has_uids_titles_and_a_folder_of_its_own(tmp_path: Path) -> None:
    mine = Settings(SETTINGS.thresholds, fleet="f" * 63, own_set="A-very-long-name-of-")
    boards, others = all_dashboards(mine).values(), all_dashboards(SETTINGS).values()
    assert not {b["uid"] for b in boards} & {b["uid"] for b in others}
    assert {len(b["uid"]) <= 40 and len(b["tags"][2]) <= 50 for b in boards} == {True}
    write_dashboards(tmp_path, mine)
    provider = yaml.safe_load((tmp_path / PROVIDER).read_text())["providers"][0]
    assert (provider["name"], provider["folder"], provider["folderUid"]) == (
        "controlplane-A-very-long-name-of-",
        "LLM fleet (A-very-long-name-of-)",
        "llm-A-very-long-name-of--dashboards",
    )


def test_a_fifo_in_the_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gpu.json")
    for act in (write_dashboards, drift):
        with pytest.raises(OSError, match="it is no regular file") as refused:
            act(tmp_path, SETTINGS)
        assert refused.value.filename == str(tmp_path / "gpu.json")


def test_a_file_that_was_changed_or_is_missing_has_drifted(tmp_path: Path) -> None:
    write_dashboards(tmp_path, SETTINGS, "/elsewhere")
    assert drift(tmp_path, SETTINGS, "/elsewhere") == {}
    assert list(drift(tmp_path, SETTINGS)) == [str(tmp_path / PROVIDER)]
    (tmp_path / "gpu.json").unlink()
    text = (tmp_path / "cost.json").read_text()
    (tmp_path / "cost.json").write_text(text.replace('"refresh": "30s"', '"refresh": "5s"'))
    (tmp_path / "mine.json").write_text("{}")
    found = drift(tmp_path, SETTINGS, "/elsewhere")
    assert sorted(found) == [str(tmp_path / name) for name in ("cost.json", "gpu.json")]
    changed = [line for line in found[str(tmp_path / "cost.json")].splitlines() if line[0] in "+-"]
    assert changed[2:] == ['-  "refresh": "5s",', '+  "refresh": "30s",']
