"""One prometheus.yml for this project and for a real Prometheus: the same targets, dropped targets and refusals."""

from __future__ import annotations

import asyncio
import http.server
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from alerts.errors import RuleError
from collectors.discovery.asking import ask_once
from collectors.discovery.discovery import Discovery
from collectors.discovery.polling import Means
from collectors.target import Target
from controlplane.app.targets.followers import followers
from controlplane.app.targets.plan import discovery_of, plan_scraping
from controlplane.config.loader import load_fleet
from controlplane.config.scraping.prometheus.jobs import read_jobs
from tests.contract.real_servers import prometheus
from tests.contract.test_relabel_scrapes_prometheus import labels_there, settled, told
from tests.fakes.on_a_thread import serving
from tests.patience import HANG_S, PROCESS_S

pytestmark = pytest.mark.needs("prometheus")

PAGE = b'up_to_date{job="own",zone="page"} 1\nlimited 1\nlimited{a="b"} 2\n'
LISTED = [
    {"targets": ["SERVER", "nowhere.invalid:9"], "labels": {"zone": "eu", "__meta_rack": "r1"}},
    {"targets": ["bare.invalid", "a/b"], "labels": {"job": "", "__metrics_path__": "/named"}},
    {"targets": []},
    {"targets": ["other.invalid:7"], "labels": {"__scheme__": "http", "__param_x": "own", "__scrape_interval__": "7s"}},
]
CONFIG = """\
global: {scrape_interval: 6s, scrape_timeout: 4s}
scrape_configs:
  - job_name: static
    static_configs:
      - {targets: [SERVER, bare.invalid], labels: {zone: eu, empty: "", number: 1.10}}
      - {targets: ["[::1]:9"]}
      - {targets: ["[::1]:9"], labels: {job: named}}
  - job_name: static-none
  - job_name: files
    file_sd_configs: [{files: [FOLDER/t*.json]}, {files: [listed.yml]}]
  - job_name: servers
    http_sd_configs: [{url: "http://SERVER/list", refresh_interval: 60s}]
  - job_name: parameters
    metrics_path: /p
    params: {"match[]": ["{a='b'}", c], x: [1, 2], none: []}
    http_sd_configs: [{url: "http://SERVER/list"}]
    static_configs: [{targets: [SERVER], labels: {__param_x: label}}]
  - job_name: rewritten
    scrape_interval: 3s
    http_sd_configs: [{url: "http://SERVER/list"}]
    static_configs: [{targets: ["http://site.invalid/a b"]}]
    params: {module: [http_2xx], x: [1, 2]}
    relabel_configs:
      - {source_labels: [__address__], target_label: __param_target}
      - {source_labels: [__param_target], target_label: instance}
      - {source_labels: [__meta_url], target_label: url}
      - {source_labels: [__scrape_timeout__], target_label: timeout}
      - {regex: __param_x, action: labeldrop}
      - {target_label: __address__, replacement: SERVER}
  - job_name: kept
    file_sd_configs: [{files: [FOLDER/t*.json]}]
    relabel_configs: [{source_labels: [zone], regex: eu, action: keep}]
  - job_name: mapped
    file_sd_configs: [{files: [FOLDER/t*.json]}]
    relabel_configs: [{regex: "__meta_(.+)", action: labelmap}, {source_labels: [team], regex: x, action: drop}]
  - job_name: access
    scheme: https
    honor_labels: true
    basic_auth: {username: u, password: p}
    tls_config: {insecure_skip_verify: true}
    static_configs: [{targets: [SERVER]}]
"""
REFUSED = (
    "scrape_interval: 0s", "scrape_interval: 15", "{scrape_interval: 5s, scrape_timeout: 6s}", "honor_labels: yes",
    'honor_labels: "true"', "honor_labels: 1", 'sample_limit: "5"', "sample_limit: -1", "sample_limit: 7",
    "params: {a: b}", "params: {a: [1, true]}", "scheme: ", "basic_auth: {username: a}", "basic_auth: {password: a}",
    "basic_auth: {username: a, password: b, password_file: c}", "authorization: {type: Basic, credentials: x}",
    "authorization: {}", "{basic_auth: {username: a}, authorization: {credentials: x}}",
    "{bearer_token: x, bearer_token_file: y}", "{bearer_token: x, basic_auth: {username: a}}",
    "static_configs: [{targets: [a/b]}]", "{static_configs: [{targets: [a/b]}], relabel_configs: [{action: drop}]}",
    "static_configs: [{targets: [a], lables: {}}]", "static_configs: {targets: [a]}", "static_configs: [null]",
    "static_configs: ", "file_sd_configs: [{files: [a.txt]}]", "file_sd_configs: [{files: [a*b.json]}]",
    "file_sd_configs: [{files: ['a*/b.json']}]", "file_sd_configs: [{}]", "http_sd_configs: [{}]",
    "http_sd_configs: [{url: 'ftp://a'}]", "http_sd_configs: [{url: 'http://'}]", "http_sd_configs: [{url: 'http://a'}]",
    "tls_config: {ca_file: a, ca: b}", "tls_config: {nope: b}", "tls_config: {insecure_skip_verify: 1}",
    "relabel_configs: [null]", "relabel_configs: [{action: keeep}]", "metric_relabel_configs: [{action: hashmod}]",
    "basic_auth: {username: a, username_file: b}", "authorization: {credentials: a, credentials_file: b}",
    "proxy_url: ''", "no_proxy: x", "{proxy_url: 'http://a', proxy_from_environment: true}",
    "http_headers: {A: {values: [b]}}", "consul_sd_config: []", "dns_sd_configs: []",
    "docker_sd_configs: [{}]", "docker_sd_configs: [{host: 'unix:///x'}]", "docker_sd_configs: [{host: a, nope: 1}]",
    "docker_sd_configs: [{host: 'tcp://a', filters: [{name: a, values: [b]}], match_first_network: false}]",
    "docker_sd_configs: [{host: 'tcp://a', filters: [{nme: a}]}]", "dns_sd_configs: [{}]",
    "dns_sd_configs: [{names: [a], type: srv}]",
    "dns_sd_configs: [{names: [a], type: A}]", "dns_sd_configs: [{names: [a], type: TXT}]",
    "dns_sd_configs: [{names: [a], type: mx, port: 25}]", "dns_sd_configs: [{names: [a], nope: 1}]", "metrics_path: ''",
    "fallback_scrape_protocol: PrometheusText0.0.4", "scrape_fallback_protocol: x", "target_limit: 3",
    "keep_dropped_targets: 3", "track_timestamps_staleness: true", "enable_compression: false",
    "always_scrape_classic_histograms: true", "convert_classic_histograms_to_nhcb: true",
    "native_histogram_bucket_limit: 3", "native_histogram_min_bucket_factor: 1.1", "scrape_failure_log_file: f",
    "metric_name_validation_scheme: utf8", "metric_name_escaping_scheme: underscores", "label_limit: 3",
    "label_name_length_limit: 3", "label_value_length_limit: 3", "body_size_limit: 5MB", "honor_timestamps: false",
    "follow_redirects: false", "enable_http2: false",
)  # fmt: skip
"""Fields of a job, some of which Prometheus refuses."""


class Server(http.server.BaseHTTPRequestHandler):
    """Answers /list with the list, and every other path with the page."""

    def do_GET(self) -> None:
        address = self.server.server_address
        assert isinstance(address, tuple)
        server = f"127.0.0.1:{address[1]}"
        body = json.dumps(LISTED).replace("SERVER", server).encode() if self.path == "/list" else PAGE
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if self.path == "/list" else "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def ours(folder: Path) -> tuple[Discovery, list[Target]]:
    (folder / "fleet.yaml").write_text("fleet: {name: x}\ntargets: [{prometheus_config: prometheus.yml}]\n")
    loaded = load_fleet(folder / "fleet.yaml")
    discovery = discovery_of(plan_scraping(loaded), loaded)
    discovery.refresh()
    answers = asyncio.run(ask_once(discovery.sources, HANG_S, followers(Means())))
    return discovery, discovery.refresh(answers.__getitem__)


def test_the_same_file_makes_the_same_targets(tmp_path: Path) -> None:
    with serving(Server) as server:
        listed = json.dumps(LISTED).replace("SERVER", server)
        (tmp_path / "t1.json").write_text(listed)
        (tmp_path / "listed.yml").write_text("- targets: [yaml.invalid:1]\n  labels: {version: 1.10}\n")
        config = CONFIG.replace("SERVER", server).replace("FOLDER", str(tmp_path))
        with prometheus(tmp_path, config) as url:
            data = settled(url, CONFIG.count("job_name") - 1)  # one job has no target
        discovery, targets = ours(tmp_path)
    active, dropped = data["activeTargets"], data["droppedTargets"]
    assert told((labels_there(t), t.url) for t in targets) == told((t["labels"], t["scrapeUrl"]) for t in active)
    assert told(dict(t.discovered) for t in targets) == told(t["discoveredLabels"] for t in active)
    assert told((t.interval_s, t.timeout_s, t.url) for t in targets) == told(
        (float(t["scrapeInterval"].rstrip("s")), float(t["scrapeTimeout"].rstrip("s")), t["scrapeUrl"]) for t in active
    )
    assert told((d.job, dict(d.discovered)) for d in discovery.dropped) == told(
        (t["scrapePool"], t["discoveredLabels"]) for t in dropped
    )
    assert {t.job for t in targets} >= {"static", "files", "servers", "parameters", "rewritten", "kept", "named"}


def test_the_same_jobs_are_refused(tmp_path: Path) -> None:
    both: dict[str, tuple[bool, bool]] = {}
    for fields in REFUSED:
        job = f"[{{job_name: x, {fields[1:-1] if fields.startswith('{') else fields}}}]"
        (tmp_path / "prometheus.yml").write_text(f"scrape_configs: {job}\n")
        command = ["promtool", "check", "config", "--syntax-only", "prometheus.yml"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=PROCESS_S)
        try:
            read_jobs(tmp_path / "prometheus.yml")
            accepted = True
        except RuleError:
            accepted = False
        both[fields] = (done.returncode == 0, accepted)
    assert {fields: pair for fields, pair in both.items() if pair[0] is not pair[1]} == {}
    assert 20 < sum(theirs for theirs, _ in both.values()) < len(REFUSED) - 20
