"""Relabelling of targets against a real Prometheus: the same file_sd file and rules give the same targets."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.relabel import Action, RelabelRule, relabelled
from tests.contract.real_servers import prometheus
from tests.patience import HANG_S

pytestmark = pytest.mark.needs("prometheus")

TARGETS = [
    {"targets": [f"127.0.0.1:{port}"], "labels": {"zone": zone, "name": name, "Model": model, "__x_rack": rack}}
    for port, zone, name, model, rack in [
        (1, "eu", "gpu-1", "Chat", "r1"),
        (2, "us", "gpu-22", "chat", "r1"),
        (3, "eu", "cpu", "ÄRGER", "eu"),
        (4, "", "a;b", "x$y", "us"),
        (5, "us", "gpu-5", "us", "r-5"),
    ]
]


def rule(action: str = "replace", *sources: str, **fields: Any) -> RelabelRule:
    return RelabelRule(Action(action), sources, **fields)


JOBS: list[list[RelabelRule]] = [
    [rule("replace", "zone", "name", target_label="both")],
    [rule("replace", "name", regex="gpu-(.)", target_label="number", replacement="n${1}")],
    [rule("replace", "name", regex="(?P<kind>.*)-(.*)", target_label="x_${kind}", replacement="$2$$$kind$9")],
    [rule("replace", "name", target_label="${1}", replacement="v")],
    [rule("replace", target_label="zone", replacement="")],
    [rule("replace", "none", target_label="zone")],
    [rule("replace", "__x_rack", target_label="__metrics_path__", replacement="/m/$1")],
    [rule("replace", "zone", target_label="__address__", regex="(.+)", replacement="127.0.0.1:99")],
    [rule("keep", "zone", regex="e.")],
    [rule("keep", "zone", regex="e")],
    [rule("drop", "zone", "name", regex="eu;.*1")],
    [rule("drop", "zone")],
    [rule("keepequal", "zone", target_label="__x_rack")],
    [rule("dropequal", "zone", target_label="__x_rack")],
    [rule("hashmod", "__address__", modulus=7, target_label="shard"), rule("keep", "shard", regex="[0-3]")],
    [rule("hashmod", "zone", "name", modulus=2**64 - 1, target_label="shard")],
    [rule("labelmap", regex="__x_(.+)")],
    [rule("labeldrop", regex="zone|n.*")],
    [rule("labelkeep", regex="__.*|job|zone")],
    [rule("lowercase", "Model", target_label="Model")],
    [rule("uppercase", "Model", "name", separator="/", target_label="upper")],
    [rule("replace", "Model", regex="x.y", target_label="dollar", replacement="${0}-$1")],
    [rule("labelmap", regex="__x_(.+)"), rule("keep", "rack", regex="r.*"), rule("labeldrop", regex="rack")],
]


def config(folder: Path) -> str:
    (folder / "targets.json").write_text(json.dumps(TARGETS))
    jobs = []
    for number, rules in enumerate(JOBS):
        written = [{**asdict(one), "source_labels": list(one.source_labels)} for one in rules]
        for each in written:
            # A rule of some actions is refused when it has more fields, so fields at their default are left out.
            default = {**asdict(RelabelRule(Action.KEEP)), "source_labels": []}
            for name in [name for name in each if name != "action" and each[name] == default[name]]:
                del each[name]
            each["action"] = str(each["action"])
        jobs.append(
            {
                "job_name": f"j{number}",
                "scrape_interval": "1h",
                "scrape_timeout": "5s",
                "file_sd_configs": [{"files": [f"{folder}/targets.json"]}],
                "relabel_configs": written,
            }
        )
    return json.dumps({"scrape_configs": jobs})


def ours(number: int) -> tuple[list[tuple[dict[str, str], str]], int]:
    """Return the labels and the URL of each target that stays, and the number of dropped ones."""
    kept, dropped = [], 0
    for entry in TARGETS:
        labels: dict[str, str] = {**entry["labels"], "__address__": entry["targets"][0], "job": f"j{number}"}  # type: ignore[dict-item,index]
        found = relabelled({"__scheme__": "http", "__metrics_path__": "/metrics", **labels}, JOBS[number])
        if found is None:
            dropped += 1
            continue
        url = f"{found['__scheme__']}://{found['__address__']}{found['__metrics_path__']}"
        public = {"instance": found["__address__"], **{n: v for n, v in found.items() if not n.startswith("__")}}
        kept.append((public, url))
    return kept, dropped


def test_the_same_rules_keep_drop_and_rewrite_the_same_targets(tmp_path: Path) -> None:
    total = len(JOBS) * len(TARGETS)
    with prometheus(tmp_path, config(tmp_path)) as url:
        deadline = time.monotonic() + HANG_S
        while True:
            data = httpx.get(f"{url}/api/v1/targets", timeout=HANG_S).json()["data"]
            active, dropped = data["activeTargets"], data["droppedTargets"]
            # Targets whose labels became equal are one target.
            if len({t["scrapePool"] for t in active} | {t["discoveredLabels"]["job"] for t in dropped}) == len(JOBS):
                break
            assert time.monotonic() < deadline, (total, len(active), len(dropped))
            time.sleep(0.1)
    for number, rules in enumerate(JOBS):
        job = f"j{number}"
        theirs = sorted(
            json.dumps((t["labels"], t["scrapeUrl"]), sort_keys=True) for t in active if t["scrapePool"] == job
        )
        kept, left_out = ours(number)
        assert sorted({json.dumps(one, sort_keys=True) for one in kept}) == theirs, rules
        assert left_out == sum(t["discoveredLabels"]["job"] == job for t in dropped), rules
