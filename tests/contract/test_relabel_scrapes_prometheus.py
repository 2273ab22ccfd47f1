"""fleet.yaml's relabelling beside a real Prometheus: the same rules over the same files and pages.

Both scrape the same server. Targets, dropped targets, raw series with their values, and counts of samples are equal.
"""

from __future__ import annotations

import http.server
import json
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.discovery.discovery import Discovery
from collectors.http.fetch import HttpSource
from collectors.samples import METRIC_NAME, FloatArray, Layout
from collectors.scraping.scrape import ScrapeManager
from collectors.target import Target, TargetHealth
from controlplane.app.recipe import Recipe
from controlplane.app.targets.plan import plan_scraping
from controlplane.clock.system import SystemClock
from controlplane.config.loader import load_fleet
from controlplane.errors import ConfigErrors
from tests.contract.real_servers import prometheus
from tests.fakes.on_a_thread import serving
from tests.fakes.scrape_once import scrape_once
from tests.patience import HANG_S, PROCESS_S

pytestmark = pytest.mark.needs("prometheus")

PAGE = b"""\
# TYPE http_requests_total counter
http_requests_total{code="200",path="/v1/a",model="chat"} 7
http_requests_total{code="500",path="/v1/a",model="chat"} 2
http_requests_total{code="200",path="/v1/b",model="Rank"} 3
# TYPE queue gauge
queue{zone="inside",job="own"} 4
queue{zone="other"} 5
# TYPE seconds histogram
seconds_bucket{le="0.5"} 1
seconds_bucket{le="+Inf"} 2
seconds_sum 1.5
seconds_count 2
go_goroutines 9
build_info{version="1.10"} 1
"""
JOBS: dict[str, tuple[str, str]] = {
    "plain": ("[]", "[]"),
    "shown": (
        "[{action: labelmap, regex: __meta_(.+)}, {source_labels: [__scrape_interval__], target_label: every}]",
        "[]",
    ),
    "kept": ("[{source_labels: [zone], action: Keep, regex: eu}]", "[]"),
    "all-dropped": ("[{action: drop}]", "[]"),
    "moved": (
        "[{source_labels: [__address__], target_label: __param_target}, {source_labels: [__param_target],"
        " target_label: instance}, {target_label: __address__, replacement: SERVER}]",
        "[]",
    ),
    "path": ("[{target_label: __metrics_path__, replacement: /page}, {regex: zone, action: labeldrop}]", "[]"),
    "made-equal": (
        "[{target_label: __address__, replacement: SERVER}, {action: labelkeep, regex: __.*|job},"
        " {source_labels: [__metrics_path__], target_label: where}]",
        "[]",
    ),
    "own-job": ("[{target_label: job, replacement: mine}, {target_label: instance, replacement: here}]", "[]"),
    "dropping": ("[]", "[{source_labels: [__name__], regex: go_.*|seconds_.*, action: drop}]"),
    "keeping": ("[]", "[{source_labels: [__name__, code], regex: http_requests_total;200, action: keep}]"),
    "numbers": ("[]", "[{source_labels: [version], regex: 1.10, target_label: minor, replacement: 0x1F}]"),
    "empty": ("[]", "[{source_labels: [zone], target_label: exported_zone, replacement: }]"),
    "renamed": ("[]", "[{source_labels: [__name__], regex: http_(.*), target_label: __name__, replacement: web_$1}]"),
    "honoured": ("[]", "[{regex: exported_(.+), action: labelmap}, {regex: exported_.+, action: labeldrop}]"),
    "equal": ("[]", "[{regex: code, action: labeldrop}, {source_labels: [__name__], regex: http.*, action: keep}]"),
    "equal-names": (
        "[]",
        "[{source_labels: [__name__], regex: queue|go_.*, action: keep}, {target_label: __name__, replacement: one},"
        " {regex: exported_.*, action: labeldrop}]",
    ),
    "hidden": ("[]", "[{source_labels: [path], target_label: __tmp}, {regex: '(?:le|path)', action: labeldrop}]"),
    "bare": (
        "[]",
        "[{source_labels: [__name__], regex: build_info, action: keep}, {regex: __name__, action: labelkeep}]",
    ),
    "nothing": ("[]", "[{regex: '.*', action: labeldrop}]"),
    "sharded": (
        "[{source_labels: [__address__], modulus: 2, target_label: __shard, action: hashmod},"
        " {source_labels: [__shard], regex: 1, action: keep}]",
        "[{source_labels: [path], target_label: shard, modulus: 18446744073709551615, action: hashmod},"
        " {source_labels: [model], target_label: model, action: lowercase},"
        " {source_labels: [model], target_label: upper, action: uppercase}]",
    ),
    "nameless": ("[]", "[{regex: __name__, action: labeldrop}]"),
    "twins": ("[]", "[{source_labels: [zone], target_label: exported_zone, action: dropequal}]"),
}
IGNORED = ("scrape_duration_seconds", "scrape_series_added", "scrape_body_size_bytes")
Key = tuple[tuple[str, str], ...]


class Quiet(http.server.BaseHTTPRequestHandler):
    """Answers every path with the page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def written(job: str, server: str) -> tuple[str, str]:
    """Return a job of Prometheus and the group of fleet.yaml that means the same."""
    relabel, metric_relabel = (text.replace("SERVER", server) for text in JOBS[job])
    rules = f"    relabel_configs: {relabel}\n    metric_relabel_configs: {metric_relabel}\n"
    there = f"  - job_name: {job}\n    file_sd_configs: [{{files: [FOLDER/targets.json]}}]\n{rules}"
    here = f"  - engine: custom\n    labels: {{job: {job}}}\n    file_sd: [FOLDER/targets.json]\n{rules}"
    return there, here


class Sink:
    """Keeps the last row of each source."""

    def __init__(self) -> None:
        self.found: dict[str, dict[Key, float]] = {}

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        keys = [tuple(sorted((*series.labels, (METRIC_NAME, series.name)))) for series in layout.raw]
        self.found[source] = dict(zip(keys, values.tolist(), strict=True))

    def end(self, source: str, timestamp_ms: int) -> None:
        self.found.pop(source, None)


class Ours:
    """What this project makes of a fleet.yaml."""

    def __init__(self, folder: Path, fleet: str) -> None:
        (folder / "fleet.yaml").write_text(fleet)
        loaded = load_fleet(folder / "fleet.yaml")
        self.discovery = Discovery(plan_scraping(loaded).groups, folder)
        self.targets = self.discovery.refresh()
        assert not self.discovery.errors
        self.sink = Sink()
        self.health: list[TargetHealth] = []

    async def scrape(self) -> None:
        catalogue = load_catalogue()
        manager = ScrapeManager(
            self.sink,
            lambda target: Recipe(HttpSource, (target.url, target.auth), {"max_body_bytes": 2**20}),
            lambda target, parsed: canonical_layout(parsed.series, parsed.metadata, target, catalogue),
            SystemClock(),
        )
        self.health = [await scrape_once(manager, target) for target in self.targets]
        await manager.close()

    def series(self) -> dict[Key, float]:
        every: dict[Key, float] = {}
        for row in self.sink.found.values():
            every |= {key: value for key, value in row.items() if dict(key)[METRIC_NAME] not in IGNORED}
        return every


def told(things: Iterable[object]) -> list[str]:
    """Return things as sorted texts, so that lists in another order are equal."""
    return sorted(json.dumps(thing, sort_keys=True) for thing in things)


def labels_there(target: Target) -> dict[str, str]:
    return {**dict(target.labels), "job": target.job, "instance": target.instance}


def settled(url: str, pools: int) -> dict[str, Any]:
    """Return Prometheus's targets, once every one has been scraped."""
    deadline = time.monotonic() + HANG_S
    while True:
        data: dict[str, Any] = httpx.get(f"{url}/api/v1/targets", timeout=HANG_S).json()["data"]
        known = {t["scrapePool"] for t in data["activeTargets"]} | {t["scrapePool"] for t in data["droppedTargets"]}
        if len(known) == pools and all(t["health"] != "unknown" for t in data["activeTargets"]):
            return data
        assert time.monotonic() < deadline, known
        time.sleep(0.1)


def series_there(url: str) -> dict[Key, float]:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": '{__name__=~".+"}'}, timeout=HANG_S).json()
    every = {tuple(sorted(s["metric"].items())): float(s["value"][1]) for s in answer["data"]["result"]}
    return {key: value for key, value in every.items() if dict(key)[METRIC_NAME] not in IGNORED}


def without_failed(series: dict[Key, float], failed: str) -> dict[Key, float]:
    """Leave out what a failed scrape says beside `up`: Prometheus counts the samples that it read before the fault."""
    return {k: v for k, v in series.items() if dict(k).get("job") != failed or dict(k)[METRIC_NAME] == "up"}


async def test_the_same_rules_make_the_same_targets_and_series(tmp_path: Path) -> None:
    with serving(Quiet) as server:
        listed = [
            {"targets": [server], "labels": {"zone": "eu", "__meta_rack": "r1"}},
            {"targets": [server.replace("127.0.0.1", "localhost")], "labels": {"zone": "us", "__meta_rack": "r2"}},
        ]
        (tmp_path / "targets.json").write_text(json.dumps(listed))
        pairs = [written(job, server) for job in JOBS]
        there, here = ("".join(part).replace("FOLDER", str(tmp_path)) for part in zip(*pairs, strict=True))
        ours = Ours(tmp_path, f"fleet: {{name: x}}\nscrape: {{interval: 5s, timeout: 5s}}\ntargets:\n{here}")
        await ours.scrape()
        config = f"global: {{scrape_interval: 5s, scrape_timeout: 5s}}\nscrape_configs:\n{there}"
        with prometheus(tmp_path, config) as url:
            data = settled(url, len(JOBS))
            theirs = series_there(url)

    active, dropped = data["activeTargets"], data["droppedTargets"]
    assert told((labels_there(t), t.url) for t in ours.targets) == told((t["labels"], t["scrapeUrl"]) for t in active)
    relabelling = [t for t in ours.targets if t.discovered]
    pools = {dict(t.discovered)["job"] for t in relabelling}
    # Two targets that became equal are one, with the labels of either.
    assert told(dict(t.discovered) for t in relabelling if t.job != "made-equal") == told(
        t["discoveredLabels"] for t in active if t["scrapePool"] in pools and t["scrapePool"] != "made-equal"
    )
    assert told((d.job, dict(d.discovered)) for d in ours.discovery.dropped) == told(
        (t["scrapePool"], t["discoveredLabels"]) for t in dropped
    )
    assert without_failed(ours.series(), "nameless") == without_failed(theirs, "nameless")
    down = {t["scrapePool"] for t in active if t["health"] == "down"}
    assert down == {"nameless"} == {health.target.job for health in ours.health if health.health == "down"}
    assert {h.last_error_reason for h in ours.health if h.health == "down"} == {"relabelled"}


RULES = (
    "{}",
    "{action: keepequal, source_labels: [a], target_label: b}",
    "{action: dropequal, source_labels: [a], target_label: b, regex: (.*)}",
    "{action: keepequal, source_labels: [a], target_label: b, separator: ','}",
    "{action: keepequal, source_labels: [a], target_label: b, separator: ';'}",
    "{action: keepequal, source_labels: [a], target_label: b, modulus: 3}",
    "{action: keepequal, source_labels: [a]}",
    "{action: labeldrop, regex: a, source_labels: []}",
    "{action: labelkeep, regex: a, source_labels: [a]}",
    "{action: labeldrop, regex: a, target_label: a}",
    "{action: labeldrop, regex: a, replacement: $1}",
    "{action: labeldrop}",
    "{action: labelmap, replacement: }",
    "{action: labelmap, regex: a, replacement: ''}",
    "{action: lowercase, target_label: a, replacement: b}",
    "{action: uppercase, target_label: a}",
    "{action: uppercase}",
    "{action: hashmod, target_label: a}",
    "{action: hashmod, target_label: a, modulus: 0}",
    "{action: hashmod, target_label: a, modulus: -1}",
    "{action: hashmod, target_label: a, modulus: '3'}",
    "{action: hashmod, target_label: a, modulus: 18446744073709551615}",
    "{action: hashmod, modulus: 3}",
    "{target_label: a, regex: '('}",
    "{target_label: a, regex: '(?=a)'}",
    "{target_label: a, regex: true}",
    "{target_label: a, regex: 12}",
    "{target_label: a, regex: [a]}",
    "{target_label: a, regex: }",
    "{target_label: a, separator: 3, replacement: 4}",
    "{target_label: 'a b'}",
    "{target_label: 5}",
    "{target_label: '${1}x'}",
    "{target_label: ''}",
    "{target_label: }",
    "{target_label: a, source_labels: }",
    "{target_label: a, source_labels: b}",
    "{target_label: a, source_labels: ['']}",
    "{target_label: a, source_labels: [1, b.c]}",
    "{action: DropEqual, source_labels: [a], target_label: b}",
    "{action: , target_label: b}",
    "{action: nothing, target_label: b}",
    "{target_label: a, actions: drop}",
    "{action: drop, modulus: 3, target_label: b}",
)


def test_the_same_rules_are_refused(tmp_path: Path) -> None:
    for field in ("relabel_configs", "metric_relabel_configs"):
        refused: dict[str, tuple[bool, bool]] = {}
        for rule in RULES:
            (tmp_path / "prometheus.yml").write_text(f"scrape_configs: [{{job_name: x, {field}: [{rule}]}}]\n")
            command = ["promtool", "check", "config", "--syntax-only", "prometheus.yml"]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=PROCESS_S)
            group = f"{{engine: custom, addresses: ['a:1'], {field}: [{rule}]}}"
            (tmp_path / "fleet.yaml").write_text(f"fleet: {{name: x}}\ntargets: [{group}]\n")
            try:
                load_fleet(tmp_path / "fleet.yaml")
                accepted = True
            except ConfigErrors as error:
                accepted = False
                assert all(fault.field.startswith(f"targets[0].{field}[0]") for fault in error.errors), error
            refused[rule] = (done.returncode == 0, accepted)
        assert {rule: both for rule, both in refused.items() if both[0] is not both[1]} == {}
        assert 10 < sum(theirs for theirs, _ in refused.values()) < len(RULES) - 10
